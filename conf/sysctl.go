package conf

import (
	"fmt"
	"math"
	"time"
)

// A setting is one net.ipv4.vs sysctl that means something here. Values are the
// kernel's numbers: 0 and 1 for switches, seconds for the expirations.
type setting struct {
	name     string
	def      int // include/net/ip_vs.h and ip_vs_ctl.c, ip_vs_control_net_init_sysctl
	min, max int
	number   func(*Sysctl) *int // exactly one of the three is set
	flag     func(*Sysctl) *bool
	seconds  func(*Sysctl) *time.Duration
}

// settings are in the order they are written. Bounds are those of the kernel's
// handlers where it has some (proc_do_defense_mode: 0 to 3).
var settings = []setting{
	{name: "conn_reuse_mode", def: 1, max: 3, number: func(s *Sysctl) *int { return &s.ConnReuseMode }},
	{name: "expire_nodest_conn", flag: func(s *Sysctl) *bool { return &s.ExpireNodestConn }},
	{name: "expire_quiescent_template", flag: func(s *Sysctl) *bool { return &s.ExpireQuiescentTemplate }},
	{name: "sloppy_tcp", flag: func(s *Sysctl) *bool { return &s.SloppyTCP }},
	{name: "sloppy_sctp", flag: func(s *Sysctl) *bool { return &s.SloppySCTP }},
	{name: "nat_icmp_send", flag: func(s *Sysctl) *bool { return &s.NATICMPSend }},
	{name: "schedule_icmp", flag: func(s *Sysctl) *bool { return &s.ScheduleICMP }},
	{name: "pmtu_disc", def: 1, flag: func(s *Sysctl) *bool { return &s.PMTUDisc }},
	{name: "cache_bypass", flag: func(s *Sysctl) *bool { return &s.CacheBypass }},
	{name: "secure_tcp", max: 3, number: func(s *Sysctl) *int { return &s.SecureTCP }},
	{name: "drop_entry", max: 3, number: func(s *Sysctl) *int { return &s.DropEntry }},
	{name: "drop_packet", max: 3, number: func(s *Sysctl) *int { return &s.DropPacket }},
	{name: "am_droprate", def: 10, max: math.MaxInt32, number: func(s *Sysctl) *int { return &s.AmDroprate }},
	{name: "amemthresh", def: 1024, min: -1, max: math.MaxInt32, number: func(s *Sysctl) *int { return &s.Amemthresh }},
	{name: "lblc_expiration", def: 86400, min: 1, max: math.MaxInt32, seconds: func(s *Sysctl) *time.Duration { return &s.LBLCExpiration }},
	{name: "lblcr_expiration", def: 86400, min: 1, max: math.MaxInt32, seconds: func(s *Sysctl) *time.Duration { return &s.LBLCRExpiration }},
}

// foreign are the kernel's other names, each with the reason it means nothing here.
var foreign = map[string]string{
	"backup_only":         "there is no sync daemon in this version, so no backup whose client side could be switched off",
	"conntrack":           "balanced packets never enter the host's netfilter, so there is no conntrack entry to keep",
	"ignore_tunneled":     "the director takes frames before the host decapsulates them, so it never sees a decapsulated packet again",
	"snat_reroute":        "replies of servers are always routed after their source is rewritten",
	"sync_version":        "connections are not synchronized in this version",
	"sync_ports":          "connections are not synchronized in this version, so there are no sync threads to multiply",
	"sync_persist_mode":   "connections are not synchronized in this version, templates neither",
	"sync_threshold":      "connections are not synchronized in this version, so no packet count starts a message",
	"sync_refresh_period": "connections are not synchronized in this version, so nothing is refreshed",
	"sync_retries":        "connections are not synchronized in this version, so nothing is sent again",
	"sync_qlen_max":       "connections are not synchronized in this version, so there is no queue of messages",
	"sync_sock_size":      "connections are not synchronized in this version, so there is no socket to size",
	"run_estimation":      "counting is part of the workers' loop and cannot be switched off",
	"est_cpulist":         "rates are computed from the workers' counters; there are no kernel threads to place",
	"est_nice":            "rates are computed from the workers' counters; there are no kernel threads to prioritize",
	"conn_max":            "the bound on connections is conntrack.max_connections",
	"conn_lfactor":        "the connection table is sized from conntrack.max_connections and has no load factor",
	"svc_lfactor":         "services are compiled into a table of the right size and have no load factor",
}

func defaultSysctl() (s Sysctl) {
	for _, t := range settings {
		t.put(&s, t.def)
	}
	return s
}

func (t *setting) get(s *Sysctl) int {
	switch {
	case t.number != nil:
		return *t.number(s)
	case t.seconds != nil:
		return int(*t.seconds(s) / time.Second)
	case *t.flag(s):
		return 1
	}
	return 0
}

func (t *setting) put(s *Sysctl, n int) {
	switch {
	case t.number != nil:
		*t.number(s) = n
	case t.seconds != nil:
		*t.seconds(s) = time.Duration(n) * time.Second
	default:
		*t.flag(s) = n != 0
	}
}

// bounds are the least and the greatest value.
func (t *setting) bounds() (lo, hi int) {
	if t.flag != nil {
		return 0, 1
	}
	return t.min, t.max
}

func findSetting(name string) *setting {
	for i := range settings {
		if settings[i].name == name {
			return &settings[i]
		}
	}
	return nil
}

func sysctlNames() (names []string) {
	for _, t := range settings {
		names = append(names, t.name)
	}
	return names
}

// unknownSysctl says why a name cannot be set.
func unknownSysctl(name string) string {
	if why, ok := foreign[name]; ok {
		return "has no meaning here: " + why + "; remove it"
	}
	return "is not a net.ipv4.vs setting; " + suggest(name, sysctlNames())
}

// Get reads a setting by the kernel's name, without "net.ipv4.vs.", as the kernel
// shows it: switches are 0 or 1, expirations are seconds.
func (s *Sysctl) Get(name string) (value int, err error) {
	t := findSetting(name)
	if t == nil {
		return 0, fmt.Errorf("%s %s: %w", name, unknownSysctl(name), ErrInvalid)
	}
	return t.get(s), nil
}

// Set changes a setting by the kernel's name; units as for Get. An unknown name and a
// value out of bounds are refused with ErrInvalid, as sysctl(8) is with EINVAL.
func (s *Sysctl) Set(name string, value int) error {
	t := findSetting(name)
	if t == nil {
		return fmt.Errorf("%s %s: %w", name, unknownSysctl(name), ErrInvalid)
	}
	if lo, hi := t.bounds(); value < lo || value > hi {
		return fmt.Errorf("%s is %d; write a number from %d to %d: %w", name, value, lo, hi, ErrInvalid)
	}
	t.put(s, value)
	return nil
}
