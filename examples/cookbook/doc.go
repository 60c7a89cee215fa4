// Package cookbook shows account recovery beside other libraries: routers, databases, ORMs,
// migrations, Prometheus and testing/synctest. Each file is one recipe to copy. Recipes that need
// no other library are the Examples of the packages themselves.
package cookbook
