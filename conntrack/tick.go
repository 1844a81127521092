package conntrack

import "time"

// Tick is an instant of the data plane's clock: 4 ms units since the clock began, as
// a kernel's jiffies at HZ=250. It wraps; Before orders ticks less than 99 days apart,
// which is also the kernel's bound on a timeout (INT_MAX/HZ).
type Tick uint32

// TickLen is the length of one Tick.
const TickLen = 4 * time.Millisecond

// TickOf is the tick that holds the instant d of the data plane's clock.
func TickOf(d time.Duration) Tick { return Tick(d / TickLen) }

// Ticks is d in ticks, rounded up, so that a timer is late rather than early.
func Ticks(d time.Duration) Tick { return Tick((d + TickLen - 1) / TickLen) }

// Before orders ticks across wrap-around.
func (t Tick) Before(u Tick) bool { return int32(t-u) < 0 }
