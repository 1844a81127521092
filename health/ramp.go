package health

import "time"

// rampSteps is the most steps of a slow start: one for each percent of the weight.
const rampSteps = 100

// ramp is slow start: the weight that a server has which came up age ago, if it is to
// have all of it after over. It is at least 1, so that the server takes part, never
// falls as age grows, and changes at most once in a second and once in a percent of
// over. next is the time until it changes; 0: it has all.
func ramp(full int, age, over time.Duration) (weight int, next time.Duration) {
	if full <= 1 || age >= over {
		return full, 0
	}
	step := max(time.Second, over/rampSteps)
	at := func(n time.Duration) int {
		if n*step >= over {
			return full
		}
		return max(1, min(full-1, int(float64(full)*float64(n*step)/float64(over))))
	}
	age = max(0, age)
	n := age / step
	for m := n + 1; ; m++ {
		if at(m) > at(n) {
			return at(n), min(m*step, over) - age
		}
	}
}

// rampPart is the part of the time of a slow start that counts at age, 0 to 1.
func rampPart(age, over time.Duration) float64 {
	if age >= over {
		return 1
	}
	step := max(time.Second, over/rampSteps)
	return float64(max(0, age)/step*step) / float64(over)
}
