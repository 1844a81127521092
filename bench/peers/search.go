package main

import "math"

const (
	// lossLimit is the share of frames that may be lost at a rate that counts.
	lossLimit = 0.001
	// searchSteps halve the range of rates so often, by ratio: where everything offered is
	// twice of what came through, to 5 parts in a hundred.
	searchSteps = 5
	// tries is how often a rate is tried before it has failed: a host that takes the
	// CPU away for a moment is not the forwarder's fault.
	tries = 2
)

// trial offers frames at a rate (+Inf: as fast as it can) and says what rate that was in
// fact and which share was lost.
type trial func(rate float64) (offered, lost float64, err error)

// search finds the highest rate without loss, and the most that came through of all that
// could be offered. A forwarder that loses nothing of that has the generator's own rate.
func search(try trial) (lossFree, most float64, err error) {
	var offered float64
	clean := 0
	for range tries {
		got, lost, err := try(math.Inf(1))
		if err != nil {
			return 0, 0, err
		}
		most = max(most, got*(1-lost))
		offered += got / tries
		if lost < lossLimit {
			clean++
		}
	}
	if clean == tries { // the forwarder keeps up with the generator
		return offered, most, nil
	}
	passes := func(rate float64) (bool, error) {
		for range tries {
			got, lost, err := try(rate)
			if err != nil {
				return false, err
			}
			if lost < lossLimit {
				lossFree = max(lossFree, got)
				return true, nil
			}
		}
		return false, nil
	}
	low, high := most/2, offered
	for range searchSteps {
		middle := math.Sqrt(low * high)
		ok, err := passes(middle)
		if err != nil {
			return 0, most, err
		}
		if ok {
			low = middle
		} else {
			high = middle
		}
	}
	// Nothing passed: the answer is below the range.
	for rate := most / 2; lossFree == 0 && rate > most/64; rate /= 2 {
		if _, err := passes(rate); err != nil {
			return 0, most, err
		}
	}
	return lossFree, most, nil
}
