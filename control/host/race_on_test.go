//go:build race

package host

// raceEnabled relaxes time limits: the detector makes everything several times slower.
const raceEnabled = true
