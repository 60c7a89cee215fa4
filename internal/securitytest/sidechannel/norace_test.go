//go:build !race

package sidechannel

const raceEnabled = false
