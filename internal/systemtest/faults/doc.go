// Package faults has every neighbour of the core fail, at every call and in every way, and looks
// whether what the library promises still holds: nothing is told, nothing is lost, nothing is done
// twice, and everything works again afterwards.
package faults
