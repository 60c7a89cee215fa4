// Package cookbook shows account recovery beside other libraries: routers, databases, ORMs,
// migrations, Prometheus and testing/synctest. Each file is one recipe, to be copied. What needs no
// other library stands in the Examples of the packages themselves.
package cookbook
