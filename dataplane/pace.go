package dataplane

import "time"

// A Pace says how a worker waits for frames.
//
// A processor that sleeps takes time to wake, 5 to 60 microseconds, most of it in a
// virtual machine; so after a frame the worker may look on for a while. Under load it
// does the opposite and naps for a moment, in which a batch forms: a frame then costs
// less, and its sender need not wake anybody.
type Pace struct {
	Spin   time.Duration // how long it looks for the next frame before it sleeps
	Always bool          // spin after every frame; else only while that was worth it lately
	Nap    time.Duration // pause after a turn that found several frames; 0: none
}

// join is the pace of a worker with ports of both: the more urgent wins.
func (p Pace) join(q Pace) Pace {
	return Pace{Spin: max(p.Spin, q.Spin), Always: p.Always || q.Always, Nap: min(p.Nap, q.Nap)}
}

const (
	// napFrames is how many frames a turn must have found for a nap: a lone packet, and
	// the few of one exchange, are never held.
	napFrames = 8
	// shortestSpin is where a spin that is not worth it gives up.
	shortestSpin = 10 * time.Microsecond
	// hideFor is how long after the last frame the worker waits without telling the Go
	// scheduler, which costs less for each frame and more for nothing.
	hideFor = 20 * time.Millisecond
	// idleWait bounds the sleep of a worker without frames, so that timers go on.
	idleWait = 50 * time.Millisecond
)

// A step is what a worker does between two turns.
type step uint8

const (
	goOn  step = iota // the next turn at once
	nap               // a pause, whatever comes
	watch             // wait for a frame, hidden from the Go scheduler; short
	sleep             // wait for a frame
)

// pacer decides the steps of one worker.
type pacer struct {
	Pace
	window time.Duration // how long to spin now
	last   time.Duration // when the last frames came
	waited bool          // since then
}

// next says what follows a turn at the instant now that found so many frames. more says
// that a queue had more of them than one turn takes.
func (p *pacer) next(now time.Duration, frames int, more bool) (step, time.Duration) {
	if frames > 0 {
		p.adapt(now - p.last)
		p.last, p.waited = now, false
		if p.Nap > 0 && frames >= napFrames && !more {
			return nap, p.Nap
		}
		return goOn, 0
	}
	idle := now - p.last
	switch {
	case idle < p.window:
		return goOn, 0
	case idle < hideFor:
		p.waited = true
		return watch, idleWait
	}
	p.waited = true
	return sleep, idleWait
}

// adapt makes the spin longer after a sleep that it could have spared, and shorter after
// one that it could not.
func (p *pacer) adapt(gap time.Duration) {
	switch {
	case p.Always:
		p.window = p.Spin
	case !p.waited:
	case gap <= p.Spin:
		p.window = min(max(2*p.window, shortestSpin), p.Spin)
	default:
		if p.window /= 2; p.window < shortestSpin {
			p.window = 0
		}
	}
}
