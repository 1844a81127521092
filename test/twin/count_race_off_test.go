//go:build !race

package twin

// packets that TestTwinAgrees sends in all, and in each round.
const packets, perRound = 1_000_000, 10_000
