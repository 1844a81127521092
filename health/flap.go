package health

import (
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// flap damps a server that comes and goes: once it has changed Changes times within
// Within it is held down for Hold, and each change while that is still so begins the hold
// anew. The changes counted are those of its checks, seen or not because of a hold.
type flap struct {
	changes []time.Time // the last ones, oldest first; at most conf.Flap.Changes
	until   time.Time   // the end of the hold; zero: none so far
}

// step takes a change and says whether the server is held from now on.
func (f *flap) step(c conf.Flap, now time.Time) (hold bool) {
	if c.Changes <= 0 {
		f.changes = nil
		return false
	}
	f.changes = append(f.changes, now)
	if n := len(f.changes) - c.Changes; n > 0 {
		f.changes = append(f.changes[:0], f.changes[n:]...)
	}
	if len(f.changes) < c.Changes || now.Sub(f.changes[0]) > c.Within {
		return false
	}
	f.until = now.Add(c.Hold)
	return true
}

// held reports whether the server is held down.
func (f *flap) held(now time.Time) bool { return now.Before(f.until) }
