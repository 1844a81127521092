package health

// window is the last answers of a check, for "7 bad ones of the last 10". The zero
// window has none.
type window struct {
	answers []bool // a ring, true for a bad one
	next    int    // where the oldest is, once the ring is full
	bad     int    // how many are true
}

// add takes an answer in and lets the oldest go. Another size begins anew.
func (w *window) add(of int, bad bool) {
	if len(w.answers) != of {
		*w = window{answers: make([]bool, of)} // those not yet given count as good
	}
	if w.answers[w.next] {
		w.bad--
	}
	if bad {
		w.bad++
	}
	w.answers[w.next] = bad
	w.next = (w.next + 1) % of
}
