package ipvsadm

import (
	"net/netip"
	"strings"
)

// Resolver turns the names of a command line into numbers. Without one only numbers
// are understood.
type Resolver interface {
	// Host returns the first IPv4 address of a host. ipvsadm looks up no IPv6 addresses.
	Host(name string) (netip.Addr, bool)
	// Service returns the port of a service of packet.TCP, packet.UDP or packet.SCTP.
	Service(name string, proto uint8) (uint16, bool)
}

// endpoint is what the argument of -t, -u, --sctp-service or -r says.
type endpoint struct {
	addr    netip.Addr
	port    uint16
	hasPort bool
}

// parseEndpoint reads host, host:port, an IPv6 address or [IPv6 address]:port. Oddities
// of ipvsadm are kept: a word of digits is nothing, a bracketed form must go on with a
// colon, and the port after a bracketed IPv4 address is not looked at.
func parseEndpoint(word string, proto uint8, names Resolver) (e endpoint, ok bool) {
	if allDigits(word) {
		return e, false
	}
	host, port := word, ""
	if word[0] == '[' {
		host, port, ok = strings.Cut(word[1:], "]")
		if !ok || !strings.HasPrefix(port, ":") {
			return e, false
		}
		port, e.hasPort = port[1:], true
	}
	if e.addr, ok = parse6(host); !ok {
		if e.hasPort = strings.Contains(host, ":"); e.hasPort {
			i := strings.LastIndexByte(host, ':')
			host, port = host[:i], host[i+1:]
		}
		if e.addr, ok = parse4(host, names); !ok {
			return e, false
		}
	}
	if e.hasPort {
		e.port, ok = parsePort(port, proto, names)
	}
	return e, ok
}

// parse6 reads an IPv6 address as inet_pton(3) does: no zone.
func parse6(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a, err == nil && a.Is6() && a.Zone() == ""
}

// parse4 reads an IPv4 address in any form of inet_aton(3), or a host name.
func parse4(s string, names Resolver) (netip.Addr, bool) {
	if a, ok := inetAton(s); ok {
		return a, true
	}
	if names == nil {
		return netip.Addr{}, false
	}
	a, ok := names.Host(s)
	return a, ok && a.Is4()
}

func parsePort(s string, proto uint8, names Resolver) (uint16, bool) {
	if n, ok := number(s, 0, 65535); ok {
		return uint16(n), true
	}
	if names == nil {
		return 0, false
	}
	return names.Service(s, proto)
}

// inetAton reads an IPv4 address as inet_aton(3) does: one to four numbers, decimal,
// octal (0…) or hexadecimal (0x…), the last of which fills the bytes that are left
// (10.1 is 10.0.0.1). What follows white space is ignored.
func inetAton(s string) (netip.Addr, bool) {
	var b [4]byte
	for i := 0; ; i++ {
		v, rest, ok := strtoul(s)
		if !ok {
			return netip.Addr{}, false
		}
		if rest != "" && rest[0] == '.' {
			if i == 3 || v > 255 {
				return netip.Addr{}, false
			}
			b[i], s = byte(v), rest[1:]
			continue
		}
		if rest != "" && !isSpace(rest[0]) || v>>(8*(4-i)) != 0 {
			return netip.Addr{}, false
		}
		for j := 3; j >= i; j-- {
			b[j] = byte(v)
			v >>= 8
		}
		return netip.AddrFrom4(b), true
	}
}

// strtoul reads one number of 32 bits with C's prefixes. It must begin with a digit.
func strtoul(s string) (v uint64, rest string, ok bool) {
	base := uint64(10)
	if len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' && digit(s[2]) < 16 {
		base, s = 16, s[2:]
	} else if s != "" && s[0] == '0' {
		base = 8
	}
	for s != "" && digit(s[0]) < base {
		v, ok = v*base+digit(s[0]), true
		if v > 0xffffffff {
			return 0, s, false
		}
		s = s[1:]
	}
	return v, s, ok
}

// digit is the value of a digit of any base up to 16, or 16 and more for no digit.
func digit(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return uint64(c|0x20-'a') + 10
	}
	return 99
}
