// Package cookbook has Examples of account recovery beside other libraries: routers (net/http's is in
// package httpadapter), databases, ORMs, migrations, Prometheus and testing/synctest. Each file is
// one, to be copied. What needs no other library is in the Examples of the packages themselves.
package cookbook
