package control

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// sieve chooses frames for a trace or a capture. The tests of frames are asked for every
// frame that the director receives, those of ends only for what is left; neither makes
// anything.
type sieve struct {
	frames   []func(*packet.Frame) bool
	ends     []func(*dataplane.Event) bool
	count    int           // at most so many; 0: any number
	duration time.Duration // at most so long; 0: any time
	snaplen  int
}

// sieveParams are the words that a request may use.
const sieveParams = "src, dst, host, proto, port, reason, verdict, service, count and duration"

// newSieve reads the query of a request. more are words that this request has beside
// those of sieveParams.
func (d *Director) newSieve(q url.Values, more ...string) (*sieve, error) {
	s := &sieve{snaplen: 1 << 18}
	for name, values := range q {
		if err := d.sift(s, name, values[len(values)-1], more); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return s, nil
}

func (d *Director) sift(s *sieve, name, value string, more []string) (err error) {
	switch name {
	case "src", "dst", "host":
		var e endFilter
		if e, err = parseEndFilter(value); err == nil {
			s.frames = append(s.frames, e.test(name))
		}
	case "proto":
		var p uint8
		if p, err = parseProto(value); err == nil {
			s.frames = append(s.frames, func(f *packet.Frame) bool { return f.Flow != (packet.Flow{}) && f.Flow.Proto == p })
		}
	case "port":
		i := slices.IndexFunc(d.links, func(l dataplane.Link) bool { return l.Name == value })
		if i < 0 {
			return fmt.Errorf("%q is no port of the director", value)
		}
		s.frames = append(s.frames, func(f *packet.Frame) bool { return int(f.Port) == i })
	case "reason":
		r, ok := dataplane.ParseReason(value)
		if !ok {
			return fmt.Errorf("%q is no reason; they are the words of frames_by_reason", value)
		}
		s.ends = append(s.ends, func(e *dataplane.Event) bool { return e.Reason == r })
	case "verdict":
		v, ok := dataplane.ParseVerdict(value)
		if !ok {
			return fmt.Errorf("%q is no verdict: pass, send, taken or drop", value)
		}
		s.ends = append(s.ends, func(e *dataplane.Event) bool { return e.Verdict == v })
	case "service":
		var k conf.ServiceKey
		if k, err = d.serviceNamed(value); err == nil {
			s.ends = append(s.ends, func(e *dataplane.Event) bool { of := e.Trace.Of(); return of != nil && of.Key == k })
		}
	case "count":
		if s.count, err = strconv.Atoi(value); err != nil || s.count < 1 {
			return fmt.Errorf("%q is not a number from 1 on", value)
		}
	case "duration":
		if s.duration, err = time.ParseDuration(value); err != nil || s.duration <= 0 {
			return fmt.Errorf("%q is not a time like 30s", value)
		}
	default:
		if name == "snaplen" && slices.Contains(more, name) {
			if s.snaplen, err = strconv.Atoi(value); err != nil || s.snaplen < 1 || s.snaplen > 1<<18 {
				return fmt.Errorf("%q is not a number from 1 to %d", value, 1<<18)
			}
			return nil
		}
		return fmt.Errorf("there is no such word; %s can be asked for", strings.Join(append([]string{sieveParams}, more...), ", "))
	}
	return err
}

// wants is for dataplane.Watcher.
func (s *sieve) wants(f *packet.Frame) bool {
	for _, t := range s.frames {
		if !t(f) {
			return false
		}
	}
	return true
}

// keeps reports whether a wanted frame's end is one to be told.
func (s *sieve) keeps(e *dataplane.Event) bool {
	for _, t := range s.ends {
		if !t(e) {
			return false
		}
	}
	return true
}

// serviceNamed is the service of a name or a key.
func (d *Director) serviceNamed(s string) (conf.ServiceKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, kerr := conf.ParseServiceKey(s)
	for svc := range d.state.Services() {
		if svc.Name == s || kerr == nil && svc.Key == k {
			return svc.Key, nil
		}
	}
	if kerr != nil {
		return k, fmt.Errorf("%q is no service's name, nor a service like tcp/192.0.2.1:80", s)
	}
	return k, fmt.Errorf("%v: %w", k, conf.ErrNoService)
}

// endFilter is an address, a network, a port, or one of the first two with a port.
type endFilter struct {
	net  netip.Prefix // invalid: any
	port uint16       // 0: any
}

// parseEndFilter reads ADDR, ADDR:PORT, NET, NET:PORT or :PORT; an IPv6 address or
// network before a port stands in brackets.
func parseEndFilter(s string) (e endFilter, err error) {
	addr := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && (i == 0 || strings.IndexByte(s, ':') == i || s[i-1] == ']') {
		port, perr := strconv.ParseUint(s[i+1:], 10, 16)
		if perr != nil || port == 0 {
			return e, fmt.Errorf("%q: its port is not a number from 1 to 65535", s)
		}
		e.port, addr = uint16(port), strings.TrimSuffix(strings.TrimPrefix(s[:i], "["), "]")
	}
	if addr == "" && e.port != 0 {
		return e, nil
	}
	if a, aerr := netip.ParseAddr(addr); aerr == nil {
		e.net = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
	} else if e.net, err = netip.ParsePrefix(addr); err != nil {
		return e, fmt.Errorf("%q is no address or network, alone or with a port", s)
	}
	return e, nil
}

// test asks about one end of a frame's packet, or, for host, about either.
func (e endFilter) test(which string) func(*packet.Frame) bool {
	src := func(f *packet.Frame) bool { return e.is(f, f.Flow.Src, f.Flow.SrcPort) }
	dst := func(f *packet.Frame) bool { return e.is(f, f.Flow.Dst, f.Flow.DstPort) }
	switch which {
	case "src":
		return src
	case "dst":
		return dst
	}
	return func(f *packet.Frame) bool { return src(f) || dst(f) }
}

func (e endFilter) is(f *packet.Frame, a packet.Addr, port uint16) bool {
	if f.Flow == (packet.Flow{}) || e.net.IsValid() && !e.net.Contains(a.Netip()) {
		return false
	}
	return e.port == 0 || e.port == port || f.FragOff != 0 // later fragments do not say their ports
}

// protoNames are those that can be asked for by name.
var protoNames = map[string]uint8{"tcp": packet.TCP, "udp": packet.UDP, "sctp": packet.SCTP, "icmp": packet.ICMP,
	"icmpv6": packet.ICMPv6, "esp": packet.ESP, "ah": packet.AH, "gre": packet.GRE, "ipip": packet.IPIP, "ipv6": packet.IPv6}

func parseProto(s string) (uint8, error) {
	if p, ok := protoNames[s]; ok {
		return p, nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("%q is no protocol: tcp, udp, sctp, icmp, icmpv6 or a number", s)
	}
	return uint8(n), nil
}

func protoName(p uint8) string {
	for name, n := range protoNames {
		if n == p {
			return name
		}
	}
	return strconv.Itoa(int(p))
}
