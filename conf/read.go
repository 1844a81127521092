package conf

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The readers turn one written value into one typed one. They judge its form only:
// whether it fits the rest is for Validate. A value that is not written gives the
// default, a wrong one a mistake and the default.

func (p *problems) text(v value, def string) string {
	if !v.written {
		return def
	}
	s, ok := v.v.(string)
	if !ok {
		p.add(v.path, "is %s; write a string", kindOf(v.v))
		return def
	}
	return s
}

func (p *problems) whole(v value, def int) int {
	if !v.written {
		return def
	}
	n, ok := v.v.(int64)
	if !ok {
		p.add(v.path, "is %s; write a whole number", kindOf(v.v))
		return def
	}
	if int64(int(n)) != n {
		p.add(v.path, "%d is beyond this machine's numbers; write a smaller one", n)
		return def
	}
	return int(n)
}

func (p *problems) flag(v value, def bool) bool {
	if !v.written {
		return def
	}
	b, ok := v.v.(bool)
	if !ok {
		p.add(v.path, "is %s; write true or false", kindOf(v.v))
		return def
	}
	return b
}

// choice reads one word of a vocabulary; what names the kind of thing: "a driver".
func choice[T comparable](p *problems, v value, def T, what string, words vocabulary[T]) T {
	s := p.text(v, "")
	if !v.written || p.seen[v.path] {
		return def
	}
	t, ok := words.value(s)
	if !ok {
		p.add(v.path, "%q is not %s; %s", s, what, oneOf(words.words()))
		return def
	}
	return t
}

// duration reads "6m", "1h30m", "360s" or a whole number of seconds.
func (p *problems) duration(v value, def time.Duration) time.Duration {
	if !v.written {
		return def
	}
	switch d := v.v.(type) {
	case int64:
		if d >= 0 && d <= math.MaxInt32 {
			return time.Duration(d) * time.Second
		}
	case string:
		if t, err := time.ParseDuration(d); err == nil {
			return t
		}
	}
	p.add(v.path, `is %s; write a time like "6m" or "360s", or whole seconds as a number`, kindOf(v.v))
	return def
}

func (p *problems) addr(v value) (a netip.Addr) {
	s := p.text(v, "")
	if !v.written || p.seen[v.path] {
		return a
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		p.add(v.path, `%q is not an address; write one like "192.0.2.1" or "2001:db8::1"`, s)
	}
	return a
}

func (p *problems) prefix(v value) (f netip.Prefix) {
	s := p.text(v, "")
	if !v.written || p.seen[v.path] {
		return f
	}
	f, err := netip.ParsePrefix(s)
	if err != nil {
		p.add(v.path, `%q is not an address with a prefix length; write one like "192.0.2.0/24"`, s)
	}
	return f
}

// net reads a prefix, or an address for the prefix that holds it alone.
func (p *problems) net(v value) (f netip.Prefix) {
	s := p.text(v, "")
	if !v.written || p.seen[v.path] {
		return f
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen())
	}
	f, err := netip.ParsePrefix(s)
	if err != nil {
		p.add(v.path, `%q is not an address or network; write one like "192.0.2.1" or "192.0.2.0/24"`, s)
	}
	return f
}

func (p *problems) mac(v value) (mac [6]byte) {
	s := p.text(v, "")
	if !v.written || p.seen[v.path] {
		return mac
	}
	m, err := net.ParseMAC(s)
	if err != nil || len(m) != len(mac) {
		p.add(v.path, `%q is not an Ethernet address; write one like "02:00:00:00:00:01"`, s)
		return mac
	}
	return [6]byte(m)
}

// list gives the elements of a list; one value alone is a list of one, and its path
// says so.
func (p *problems) list(v value) (all []value) {
	if !v.written {
		return nil
	}
	elements, ok := elements(v.v)
	if !ok {
		return []value{{at(v.path, 0), v.v, true}}
	}
	if len(elements) == 0 {
		p.add(v.path, "is an empty list; leave the key out, or write at least one element")
	}
	for i, e := range elements {
		all = append(all, value{at(v.path, i), e, true})
	}
	return all
}

// portRange reads 80, "80" or "8000-8100".
func (p *problems) portRange(v value) (r PortRange) {
	text := ""
	switch n := v.v.(type) {
	case int64:
		text = strconv.FormatInt(n, 10)
	case string:
		text = n
	}
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	if errA != nil || errB != nil {
		p.add(v.path, `is %s; write a port from 0 to 65535, or a range like "8000-8100"`, kindOf(v.v))
	}
	return PortRange{uint16(a), uint16(b)}
}

// protocol reads a name or a number of IANA's protocol registry.
func (p *problems) protocol(v value) uint8 {
	if !v.written {
		return 0
	}
	switch n := v.v.(type) {
	case int64:
		if n >= 1 && n <= 255 {
			return uint8(n)
		}
	case string:
		if proto, ok := markProtocols.value(n); ok {
			return proto
		}
	}
	p.add(v.path, "is %s, not a protocol; %s, or a number from 1 to 255", kindOf(v.v), oneOf(markProtocols.words()))
	return 0
}

// markValue reads 5, "5", "0x30" or "0x30/0xf0": value and mask, as iptables writes
// them. Bits of the value outside the mask count as masked: MARK --set-mark does so.
func (p *problems) markValue(v value) (value, mask uint32) {
	text := ""
	switch n := v.v.(type) {
	case int64:
		text = strconv.FormatInt(n, 10)
	case string:
		text = n
	}
	first, second, masked := strings.Cut(text, "/")
	if !masked {
		second = "0xffffffff"
	}
	a, errA := strconv.ParseUint(first, 0, 32)
	b, errB := strconv.ParseUint(second, 0, 32)
	if errA != nil || errB != nil || strings.Contains(text, "_") {
		p.add(v.path, `is %s, not a mark; write a number from 0 to 4294967295, or value and mask like "0x30/0xf0"`, kindOf(v.v))
	}
	return uint32(a), uint32(b | a)
}

// parseListen reads "tcp/192.0.2.1:80", "udp/[2001:db8::1]:53", and for all ports
// "tcp/192.0.2.1", "tcp/192.0.2.1:*" or "tcp/192.0.2.1:0".
func parseListen(s string) (k ServiceKey, err error) {
	name, rest, slash := strings.Cut(s, "/")
	proto, ok := serviceProtocols.value(name)
	if !slash || !ok {
		return k, fmt.Errorf(`%q does not begin with "tcp/", "udp/" or "sctp/"; write it like "tcp/192.0.2.1:80"`, s)
	}
	addr, port, err := hostPort(rest, true)
	if err != nil {
		return k, fmt.Errorf(`%q: %w; write it like "tcp/192.0.2.1:80" or "udp/[2001:db8::1]:53", and ":*" for all ports`, s, err)
	}
	return ServiceKey{Proto: proto, Addr: addr, Port: uint16(max(0, port))}, nil
}

// hostPort reads an address with or without a port: "192.0.2.1", "192.0.2.1:80",
// "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". The port is -1
// where none is written; a star is port 0 if star.
func hostPort(s string, star bool) (a netip.Addr, port int, err error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a, -1, nil
	}
	i := strings.LastIndexByte(s, ':')
	if strings.HasSuffix(s, "]") || i < 0 {
		i = len(s)
	}
	text, bracketed := s[:i], false
	if n := len(text); n > 2 && text[0] == '[' && text[n-1] == ']' {
		text, bracketed = text[1:n-1], true
	}
	a, err = netip.ParseAddr(text)
	if err != nil || a.Is6() != bracketed {
		return netip.Addr{}, -1, fmt.Errorf("%q is not an address", s[:i])
	}
	if i == len(s) {
		return a, -1, nil
	}
	if star && s[i+1:] == "*" {
		return a, 0, nil
	}
	n, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil {
		return netip.Addr{}, -1, fmt.Errorf("%q is not a port from 0 to 65535", s[i+1:])
	}
	return a, int(n), nil
}
