//go:build race

package metrics

// slowness is how much longer things may take than as they are shipped.
const slowness = 10
