package sched

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// None is the name of the scheduler that never chooses: a service without one bound.
const None = "none"

// names lists the algorithms as ipvsadm -s spells them, in the order of its manual
// page; twos is newer than ipvsadm 1.31, which passes it through.
var names = [...]string{
	"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
}

// Names returns the names New knows, without None, in ipvsadm's order. The slice is
// the caller's.
func Names() []string { return append([]string(nil), names[:]...) }

// Config holds what is configurable about the algorithms themselves. The zero Config
// behaves like Linux 6.1 to 6.12 with its sysctls at their defaults.
type Config struct {
	// ActiveFactor is the number of inactive connections one active connection weighs
	// in lc, wlc, lblc, lblcr and twos (kernel: ip_vs_dest_conn_overhead). 256, or 0,
	// is the classic kernel's; 257 is that of the kernels of 2026, which count
	// active*256 + total, and it also selects how those bound the lblc and lblcr
	// caches. Any other value is an error.
	ActiveFactor int

	// LBLCExpiration and LBLCRExpiration say how long an unused cache entry lives
	// (sysctls net.ipv4.vs.lblc_expiration and lblcr_expiration); 0 is the kernel's
	// default of 24 hours. Expirer changes them later.
	LBLCExpiration, LBLCRExpiration time.Duration

	// Random draws a number uniformly from [0, n) for twos; n is at least 2. It must be
	// safe for concurrent use. nil is math/rand/v2's generator, seeded by the runtime;
	// a replay that must repeat itself uses Seeded.
	Random func(n uint64) uint64
}

// Expirer is implemented by the schedulers that keep a cache (lblc, lblcr).
type Expirer interface {
	// SetExpiration changes how long an unused cache entry lives, from the next check
	// on. 0 lets every check empty the cache. Safe for concurrent use.
	SetExpiration(d time.Duration)
}

// defaultExpiration is DEFAULT_EXPIRATION of ip_vs_lblc.c and ip_vs_lblcr.c.
const defaultExpiration = 24 * time.Hour

// Seeded returns a source for Config.Random that gives the same numbers for the same
// seed. It takes a lock, so it is meant for one worker: replays and tests.
func Seeded(seed uint64) func(n uint64) uint64 {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 0))
	return func(n uint64) uint64 {
		mu.Lock()
		defer mu.Unlock()
		return r.Uint64N(n)
	}
}

// New binds the scheduler called name to a service with default Config. See Config.New.
func New(name string, flags Flags, servers []*Server) (Scheduler, error) {
	return Config{}.New(name, flags, servers)
}

// New binds the scheduler called name to a service that has the given servers already,
// in list order: head first, which is the most recently added. The slice is copied.
// Binding is what ipvsadm -A and -E do; for wrr it leaves another state than adding
// the same servers one by one. It fails for an unknown name, for a bad Config, and for
// mh with more servers than its table has slots.
func (c Config) New(name string, flags Flags, servers []*Server) (Scheduler, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("scheduler %q: %w", name, err)
	}
	ovh := cost{active: int32(c.ActiveFactor), inactive: 1}
	l := newList(servers)
	switch name {
	case "rr":
		return newRR(servers), nil
	case "wrr":
		return newWRR(servers), nil
	case "lc":
		return &lc{list: l, ovh: ovh}, nil
	case "wlc":
		return &wlc{list: l, ovh: ovh}, nil
	case "lblc":
		return newLBLC(l, ovh, c), nil
	case "lblcr":
		return newLBLCR(l, ovh, c), nil
	case "dh":
		return newDH(l), nil
	case "sh":
		return newSH(l, flags), nil
	case "sed":
		return &sed{list: l}, nil
	case "nq":
		return &nq{list: l}, nil
	case "fo":
		return &fo{list: l}, nil
	case "ovf":
		return &ovf{list: l}, nil
	case "mh":
		return newMH(l, flags)
	case "twos":
		return &twos{list: l, ovh: ovh, random: c.Random}, nil
	case None:
		return none{}, nil
	}
	return nil, fmt.Errorf("unknown scheduler %q (known: %s, %s)", name, strings.Join(names[:], " "), None)
}

// complete fills in the defaults and refuses what has no meaning.
func (c *Config) complete() error {
	if c.ActiveFactor == 0 {
		c.ActiveFactor = classicFactor
	}
	if c.ActiveFactor != classicFactor && c.ActiveFactor != modernFactor {
		return fmt.Errorf("active factor %d: must be %d or %d", c.ActiveFactor, classicFactor, modernFactor)
	}
	for _, d := range []*time.Duration{&c.LBLCExpiration, &c.LBLCRExpiration} {
		if *d < 0 {
			return fmt.Errorf("expiration %v: must not be negative", *d)
		}
		if *d == 0 {
			*d = defaultExpiration
		}
	}
	if c.Random == nil {
		c.Random = rand.Uint64N
	}
	return nil
}

// none is no scheduler at all: every attempt fails for want of a server.
type none struct{}

func (none) Pick(*Request) *Server   { return nil }
func (none) Besides(*Server) *Server { return nil }
func (none) Add(*Server)             {}
func (none) Edit(*Server)            {}
func (none) Remove(*Server)          {}
func (none) SetFlags(Flags)          {}
func (none) Housekeep(time.Duration) {}
