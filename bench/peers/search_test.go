package main

import (
	"errors"
	"math"
	"testing"
)

// A forwarder that carries so much, behind a generator that offers at most 1,000,000.
func capacity(c float64) trial {
	return func(rate float64) (offered, lost float64, err error) {
		offered = min(rate, 1e6)
		return offered, max(0, 1-c/offered), nil
	}
}

func TestSearchFindsTheCapacity(t *testing.T) {
	for _, c := range []float64{990e3, 700e3, 500e3, 123e3, 20e3} {
		got, most, err := search(capacity(c))
		if err != nil || got > c*(1+2*lossLimit) || got < c*0.85 {
			t.Errorf("capacity %.0f: found %.0f (%v)", c, got, err)
		}
		if math.Abs(most-c) > 1 {
			t.Errorf("capacity %.0f: %.0f came through of everything", c, most)
		}
	}
}

// Whoever loses nothing of all that can be offered has the generator's rate.
func TestSearchEndsAtTheGenerator(t *testing.T) {
	tried := 0
	got, most, err := search(func(rate float64) (float64, float64, error) {
		tried++
		return min(rate, 800e3), 0, nil
	})
	if got != 800e3 || most != 800e3 || err != nil || tried != tries {
		t.Errorf("found %.0f, most %.0f after %d trials (%v)", got, most, tried, err)
	}
}

// One bad moment does not count, at whatever rate it comes.
func TestSearchForgivesOneBadMoment(t *testing.T) {
	for bad := range 12 {
		n := 0
		got, _, err := search(func(rate float64) (float64, float64, error) {
			n++
			offered, lost, _ := capacity(600e3)(rate)
			if n == bad {
				lost = 0.5
			}
			return offered, lost, nil
		})
		if err != nil || got < 540e3 || got > 602e3 {
			t.Errorf("bad moment %d: found %.0f (%v)", bad, got, err)
		}
	}
}

// Overload may bring less through than the rate that is carried: a livelock.
func TestSearchFindsMoreThanOverloadCarries(t *testing.T) {
	got, most, err := search(func(rate float64) (float64, float64, error) {
		offered := min(rate, 1e6)
		if offered > 700e3 {
			return offered, 0.8, nil
		}
		return offered, 0, nil
	})
	if err != nil || most > 200e3+1 || got < 600e3 || got > 700e3 {
		t.Errorf("found %.0f, most %.0f (%v)", got, most, err)
	}
}

func TestSearchOfNothing(t *testing.T) {
	if got, most, err := search(func(float64) (float64, float64, error) { return 1e6, 1, nil }); got != 0 || most != 0 || err != nil {
		t.Errorf("found %.0f, most %.0f (%v)", got, most, err)
	}
	broken := errors.New("broken")
	for at := range 5 {
		n := 0
		_, _, err := search(func(rate float64) (float64, float64, error) {
			if n++; n > at {
				return 0, 0, broken
			}
			return capacity(600e3)(rate)
		})
		if !errors.Is(err, broken) {
			t.Errorf("trial %d fails: search says %v", at, err)
		}
	}
}

// A forwarder that loses a little at every rate that is near what it carries at most.
func TestSearchGoesBelowItsRange(t *testing.T) {
	got, _, err := search(func(rate float64) (float64, float64, error) {
		offered := min(rate, 1e6)
		if offered > 150e3 {
			return offered, 2 * lossLimit, nil
		}
		return offered, 0, nil
	})
	if err != nil || got < 75e3 || got > 150e3 {
		t.Errorf("found %.0f (%v)", got, err)
	}
}
