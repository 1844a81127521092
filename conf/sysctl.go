package conf

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A setting is one net.ipv4.vs sysctl of Linux 6.1. Values are the kernel's numbers:
// seconds for the expirations, 0 or not for switches.
type setting struct {
	name     string
	def      int                // include/net/ip_vs.h and ip_vs_ctl.c, ip_vs_control_net_init_sysctl
	min, max int                // what the file may say of a number
	number   func(*Sysctl) *int // one of the three is set, unless why is
	flag     func(*Sysctl) *Switch
	seconds  func(*Sysctl) *time.Duration

	takes func(n int) bool // what the kernel's handler takes; nil: any int

	// why says why nothing comes of it here. The file may not name it then; sysctl -w
	// may, as on a kernel, and reads it back.
	why   string
	def2  int // the second number of sync_threshold
	pair  bool
	store int // index into Sysctl.idle
}

// settings are in the order they are written; those without effect come last. What the
// kernel refuses is what proc_do_defense_mode, proc_do_sync_mode and the others refuse,
// and what a kernel 6.1.192 was seen to refuse.
var settings = numbered([]setting{
	{name: "conn_reuse_mode", def: 1, max: 3, number: func(s *Sysctl) *int { return &s.ConnReuseMode }},
	{name: "expire_nodest_conn", flag: func(s *Sysctl) *Switch { return &s.ExpireNodestConn }},
	{name: "expire_quiescent_template", flag: func(s *Sysctl) *Switch { return &s.ExpireQuiescentTemplate }},
	{name: "sloppy_tcp", flag: func(s *Sysctl) *Switch { return &s.SloppyTCP }},
	{name: "sloppy_sctp", flag: func(s *Sysctl) *Switch { return &s.SloppySCTP }},
	{name: "nat_icmp_send", flag: func(s *Sysctl) *Switch { return &s.NATICMPSend }},
	{name: "schedule_icmp", flag: func(s *Sysctl) *Switch { return &s.ScheduleICMP }},
	{name: "pmtu_disc", def: 1, flag: func(s *Sysctl) *Switch { return &s.PMTUDisc }},
	{name: "cache_bypass", flag: func(s *Sysctl) *Switch { return &s.CacheBypass }},
	{name: "run_estimation", def: 1, flag: func(s *Sysctl) *Switch { return &s.RunEstimation }},
	{name: "secure_tcp", max: 3, takes: upTo(3), number: func(s *Sysctl) *int { return &s.SecureTCP }},
	{name: "drop_entry", max: 3, takes: upTo(3), number: func(s *Sysctl) *int { return &s.DropEntry }},
	{name: "drop_packet", max: 3, takes: upTo(3), number: func(s *Sysctl) *int { return &s.DropPacket }},
	{name: "am_droprate", def: 10, max: math.MaxInt32, number: func(s *Sysctl) *int { return &s.AmDroprate }},
	{name: "amemthresh", def: 1024, min: -1, max: math.MaxInt32, number: func(s *Sysctl) *int { return &s.Amemthresh }},
	{name: "lblc_expiration", def: 86400, min: 1, max: math.MaxInt32, seconds: func(s *Sysctl) *time.Duration { return &s.LBLCExpiration }},
	{name: "lblcr_expiration", def: 86400, min: 1, max: math.MaxInt32, seconds: func(s *Sysctl) *time.Duration { return &s.LBLCRExpiration }},

	{name: "backup_only", why: "there is no sync daemon in this version, so no backup whose client side could be switched off"},
	{name: "conntrack", why: "balanced packets never enter the host's netfilter, so there is no conntrack entry to keep"},
	{name: "ignore_tunneled", why: "the director takes frames before the host decapsulates them, so it never sees a decapsulated packet again"},
	{name: "snat_reroute", def: 1, why: "replies of servers are always routed after their source is rewritten"},
	{name: "sync_version", def: 1, takes: upTo(1), why: noSync},
	{name: "sync_ports", def: 1, takes: powerOfTwo, why: noSync + ", so there are no sync threads to multiply"},
	{name: "sync_persist_mode", why: noSync + ", templates neither"},
	{name: "sync_threshold", def: 3, def2: 50, pair: true, why: noSync + ", so no packet count starts a message"},
	{name: "sync_refresh_period", why: noSync + ", so nothing is refreshed"},
	{name: "sync_retries", takes: upTo(3), why: noSync + ", so nothing is sent again"},
	{name: "sync_qlen_max", why: noSync + ", so there is no queue of messages"}, // a 32nd of the kernel's buffer pages there
	{name: "sync_sock_size", why: noSync + ", so there is no socket to size"},
})

const noSync = "connections are not synchronized in this version"

// later are names of newer kernels, which a kernel 6.1 does not have either.
var later = map[string]string{
	"est_cpulist":  "rates are computed from the workers' counters; there are no kernel threads to place",
	"est_nice":     "rates are computed from the workers' counters; there are no kernel threads to prioritize",
	"conn_max":     "the bound on connections is conntrack.max_connections",
	"conn_lfactor": "the connection table is sized from conntrack.max_connections and has no load factor",
	"svc_lfactor":  "services are compiled into a table of the right size and have no load factor",
}

// idleNumbers is how many numbers the settings without effect have.
const idleNumbers = 13

// numbered gives each setting without effect its place in Sysctl.idle.
func numbered(list []setting) []setting {
	next := 0
	for i := range list {
		if list[i].why == "" {
			continue
		}
		list[i].store = next
		next++
		if list[i].pair {
			next++
		}
	}
	return list
}

func upTo(top int) func(int) bool { return func(n int) bool { return n >= 0 && n <= top } }
func powerOfTwo(n int) bool       { return n > 0 && n&(n-1) == 0 }

func defaultSysctl() (s Sysctl) {
	for i := range settings {
		t := &settings[i]
		t.put(&s, t.def)
		if t.pair {
			s.idle[t.store+1] = t.def2
		}
	}
	return s
}

// get is the setting's number, the first of a pair.
func (t *setting) get(s *Sysctl) int {
	switch {
	case t.why != "":
		return s.idle[t.store]
	case t.number != nil:
		return *t.number(s)
	case t.seconds != nil:
		return int(*t.seconds(s) / time.Second)
	}
	return int(*t.flag(s))
}

func (t *setting) put(s *Sysctl, n int) {
	switch {
	case t.why != "":
		s.idle[t.store] = n
	case t.number != nil:
		*t.number(s) = n
	case t.seconds != nil:
		*t.seconds(s) = time.Duration(n) * time.Second
	default:
		*t.flag(s) = Switch(n)
	}
}

// copy takes the value of another state.
func (t *setting) copy(to, from *Sysctl) {
	t.put(to, t.get(from))
	if t.pair {
		to.idle[t.store+1] = from.idle[t.store+1]
	}
}

// text is the value as /proc/sys shows it.
func (t *setting) text(s *Sysctl) string {
	if t.pair {
		return fmt.Sprintf("%d\t%d", s.idle[t.store], s.idle[t.store+1])
	}
	return strconv.Itoa(t.get(s))
}

// bounds are the least and the greatest value that a file may have.
func (t *setting) bounds() (lo, hi int) {
	if t.flag != nil {
		return 0, 1
	}
	return t.min, t.max
}

func findSetting(name string) *setting {
	i := slices.IndexFunc(settings, func(t setting) bool { return t.name == name })
	if i < 0 {
		return nil
	}
	return &settings[i]
}

// acting are the names that the file may have.
func acting() (names []string) {
	for _, t := range settings {
		if t.why == "" {
			names = append(names, t.name)
		}
	}
	return names
}

// unknownSysctl says why a file may not have a name.
func unknownSysctl(name string) string {
	why := later[name]
	if t := findSetting(name); t != nil {
		why = t.why
	}
	if why != "" {
		return "has no meaning here: " + why + "; remove it"
	}
	return "is not a net.ipv4.vs setting; " + suggest(name, acting())
}

// SysctlNames are the names under net.ipv4.vs of a kernel 6.1, sorted.
func SysctlNames() (names []string) {
	for _, t := range settings {
		names = append(names, t.name)
	}
	slices.Sort(names)
	return names
}

// NoEffect says why nothing comes of setting a name, "" if something does.
func NoEffect(name string) string {
	if t := findSetting(name); t != nil {
		return t.why
	}
	return ""
}

// Get reads a setting by the kernel's name, without "net.ipv4.vs.", as /proc/sys shows
// it: switches are 0 or not, expirations are seconds, sync_threshold is two numbers with
// a tab between them. An unknown name is refused with ErrNoSysctl.
func (s *Sysctl) Get(name string) (value string, err error) {
	t := findSetting(name)
	if t == nil {
		return "", fmt.Errorf("%s %s: %w", name, unknownSysctl(name), ErrNoSysctl)
	}
	return t.text(s), nil
}

// Set changes a setting by the kernel's name; the value is text as for Get, the numbers
// of a pair with any blanks between them. It takes what the kernel takes, also for
// settings without effect, and refuses the rest with ErrInvalid, where sysctl(8) has
// EINVAL, or with ErrNoSysctl.
func (s *Sysctl) Set(name, value string) error {
	t := findSetting(name)
	if t == nil {
		return fmt.Errorf("%s %s: %w", name, unknownSysctl(name), ErrNoSysctl)
	}
	words := strings.Fields(value)
	if t.pair {
		return t.setPair(s, words)
	}
	if len(words) != 1 {
		return fmt.Errorf("%s is %q; write a number: %w", name, value, ErrInvalid)
	}
	n, err := strconv.ParseInt(words[0], 10, 32)
	if err != nil || t.takes != nil && !t.takes(int(n)) {
		return fmt.Errorf("%s is %s; write %s: %w", name, words[0], t.wants(), ErrInvalid)
	}
	t.put(s, int(n))
	return nil
}

// setPair sets sync_threshold: a threshold below its period, or a period of 0
// (proc_do_sync_threshold).
func (t *setting) setPair(s *Sysctl, words []string) error {
	var v [2]int64
	bad := errors.New("want two numbers")
	if len(words) == 2 {
		var e1, e2 error
		v[0], e1 = strconv.ParseInt(words[0], 10, 32)
		v[1], e2 = strconv.ParseInt(words[1], 10, 32)
		bad = errors.Join(e1, e2)
	}
	if bad != nil || v[0] < 0 || v[1] < 0 || v[1] != 0 && v[0] >= v[1] {
		return fmt.Errorf("%s is %q; write two numbers from 0, the first below the second unless that is 0: %w", t.name, strings.Join(words, " "), ErrInvalid)
	}
	s.idle[t.store], s.idle[t.store+1] = int(v[0]), int(v[1])
	return nil
}

// wants says what the kernel takes.
func (t *setting) wants() string {
	if t.takes == nil {
		return "a whole number of 32 bits"
	}
	for top := 3; top > 0; top-- {
		if t.takes(top) && t.takes(0) {
			return fmt.Sprintf("a number from 0 to %d", top)
		}
	}
	return "a power of two"
}
