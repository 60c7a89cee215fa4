//go:build race

package behind

const raceEnabled = true
