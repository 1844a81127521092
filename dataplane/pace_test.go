package dataplane

import (
	"testing"
	"time"
)

// A script is what a worker finds at some instants, and what it then does.
type script []struct {
	at     time.Duration
	frames int
	more   bool
	want   step
}

func (s script) run(t *testing.T, p *pacer) {
	t.Helper()
	for i, c := range s {
		if got, _ := p.next(c.at, c.frames, c.more); got != c.want {
			t.Errorf("line %d, %d frames at %v: step %d, want %d", i, c.frames, c.at, got, c.want)
		}
	}
}

const us = time.Microsecond

// A lone packet is never held: no pace naps after it, and none that spins sleeps at once.
func TestLoneFrameIsNotHeld(t *testing.T) {
	for _, p := range []Pace{{}, {Spin: 50 * us, Nap: 60 * us}, {Spin: time.Millisecond, Always: true}, {Nap: 200 * us}} {
		for n := 1; n < napFrames; n++ {
			if got, _ := (&pacer{Pace: p}).next(time.Hour, n, false); got != goOn {
				t.Errorf("%+v after %d frames: step %d", p, n, got)
			}
		}
	}
}

// Under load the worker naps, but not while a queue holds more than it could take.
func TestNapUnderLoad(t *testing.T) {
	p := &pacer{Pace: Pace{Nap: 60 * us}}
	script{
		{time.Hour, napFrames, false, nap},
		{time.Hour + 70*us, 64, true, goOn},
		{time.Hour + 80*us, 70, false, nap},
		{time.Hour + 150*us, 0, false, watch},
	}.run(t, p)
	if _, d := p.next(time.Hour+200*us, 20, false); d != 60*us {
		t.Errorf("a nap of %v", d)
	}
}

// With Always the worker looks on after every frame for as long as it was told, then
// waits; long without frames it lets the Go scheduler know.
func TestSpinAlways(t *testing.T) {
	script{
		{time.Hour, 1, false, goOn},
		{time.Hour + 999*us, 0, false, goOn},
		{time.Hour + 1000*us, 0, false, watch},
		{time.Hour + hideFor - 1, 0, false, watch},
		{time.Hour + hideFor, 0, false, sleep},
		{time.Hour + time.Second, 1, false, goOn},
		{time.Hour + time.Second + 999*us, 0, false, goOn},
	}.run(t, &pacer{Pace: Pace{Spin: time.Millisecond, Always: true}})
}

// Otherwise it begins to look on when that would have spared sleeps, and gives up again
// when it does not.
func TestSpinAdapts(t *testing.T) {
	p := &pacer{Pace: Pace{Spin: 50 * us}}
	now := time.Hour
	exchange := func(gap time.Duration, n int) {
		for range n {
			p.next(now, 1, false)
			for at := gap / 10; at < gap; at += gap / 10 {
				p.next(now+at, 0, false)
			}
			now += gap
		}
	}
	exchange(time.Millisecond, 5)
	script{{now, 1, false, goOn}, {now + us, 0, false, watch}}.run(t, p)
	now += 30 * us
	exchange(30*us, 5)
	script{{now, 1, false, goOn}, {now + 31*us, 0, false, goOn}, {now + 50*us, 0, false, watch}}.run(t, p)
	now += time.Millisecond
	exchange(time.Millisecond, 5)
	script{{now, 1, false, goOn}, {now + us, 0, false, watch}}.run(t, p)
}

// Of two ports the more urgent decides.
func TestPacesJoin(t *testing.T) {
	low, thr := Pace{Spin: time.Millisecond, Always: true}, Pace{Nap: 200 * us}
	if got := thr.join(low); got != low {
		t.Errorf("throughput and low: %+v", got)
	}
	if got, want := thr.join(Pace{Spin: 50 * us, Nap: 60 * us}), (Pace{Spin: 50 * us, Nap: 60 * us}); got != want {
		t.Errorf("throughput and balanced: %+v, want %+v", got, want)
	}
}
