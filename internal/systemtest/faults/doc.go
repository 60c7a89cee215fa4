// Package faults makes every neighbour of the core fail, at every call and in every way, and checks
// that the library keeps its promises: nothing is revealed, nothing is lost, nothing is done twice,
// and everything works again afterwards.
package faults
