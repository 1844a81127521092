//go:build race

package twin

// packets that TestTwinAgrees sends in all, and in each round.
const packets, perRound = 100_000, 5_000
