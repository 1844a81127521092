package conf

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A pair is one key and its value in TOML. The pairs of a thing say all there is to
// say about it: two that mean the same have the same pairs. The file is written from
// them, and changes are told by comparing them.
type pair struct {
	key, value string
	def        bool   // the value is the default, so it need not be written
	words      string // what logs may say of the value; "": all of it
}

// hidden is what logs say of a secret.
const hidden = "(hidden)"

type pairs []pair

func (ps *pairs) add(key, value string, def bool) {
	*ps = append(*ps, pair{key: key, value: value, def: def})
}

// secret adds what no log may say.
func (ps *pairs) secret(key, value string, def bool) {
	*ps = append(*ps, pair{key: key, value: value, def: def, words: hidden})
}

// table adds pairs as one inline table.
func (ps *pairs) table(key string, inner pairs) {
	text := inner.inline()
	*ps = append(*ps, pair{key: key, value: text, def: text == "{}", words: inner.inlineAs(pair.shown)})
}

// shown is the value as logs may say it.
func (p pair) shown() string {
	if p.words != "" && !p.def {
		return p.words
	}
	return p.value
}

func (ps *pairs) text(key, value, def string) { ps.add(key, quote(value), value == def) }

func (ps *pairs) whole(key string, value, def int) {
	ps.add(key, strconv.Itoa(value), value == def)
}

func (ps *pairs) flag(key string, value, def bool) {
	ps.add(key, strconv.FormatBool(value), value == def)
}

func (ps *pairs) duration(key string, value, def time.Duration) {
	ps.add(key, quote(durationText(value)), value == def)
}

// list writes one element alone and more as an array.
func (ps *pairs) list(key string, values []string) {
	text := "[" + strings.Join(values, ", ") + "]"
	if len(values) == 1 {
		text = values[0]
	}
	ps.add(key, text, len(values) == 0)
}

// inline writes the pairs that are not defaults as an inline table.
func (ps pairs) inline() string { return ps.inlineAs(func(p pair) string { return p.value }) }

func (ps pairs) inlineAs(text func(pair) string) string {
	var b strings.Builder
	for _, p := range ps {
		if !p.def {
			fmt.Fprintf(&b, ", %s = %s", p.key, text(p))
		}
	}
	if b.Len() == 0 {
		return "{}"
	}
	return "{ " + b.String()[2:] + " }"
}

// quote writes a basic string of TOML 1.0.0.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// durationText writes what is whole in the greatest unit that holds it: "6m", "90s",
// "1500ms", "50us".
func durationText(d time.Duration) string {
	switch {
	case d%time.Hour == 0 && d != 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d%time.Minute == 0 && d != 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	if d%time.Second != 0 {
		if d%time.Microsecond != 0 {
			return strconv.FormatInt(int64(d), 10) + "ns"
		}
		if d%time.Millisecond != 0 {
			return strconv.FormatInt(int64(d/time.Microsecond), 10) + "us"
		}
		return strconv.FormatInt(int64(d/time.Millisecond), 10) + "ms"
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// addrText writes an address, "" for none.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// netText writes a network that holds one address as that address.
func netText(f netip.Prefix) string {
	if f.IsSingleIP() {
		return f.Addr().String()
	}
	return f.String()
}

func (d *Director) pairs() (ps pairs) {
	ps.text("name", d.Name, DefaultName)
	ps.whole("workers", d.Workers, 0)
	ps.text("control", d.Control, DefaultControl)
	ps.text("control_group", d.ControlGroup, "")
	ps.flag("follow_routes", d.FollowRoutes, true)
	ps.whole("announce", d.Announce, DefaultAnnounce)
	ps.text("host_port", d.HostPort, "")
	ps.flag("pin", d.Pin, false)
	return ps
}

func (p *Port) pairs() (ps pairs) {
	ps.text("name", p.Name, "")
	ps.text("driver", drivers.word(p.Driver), drivers.word(AFPacket))
	ps.text("guard", guards.word(p.Guard), guards.word(GuardOn))
	var addresses []string
	for _, a := range p.Addresses {
		addresses = append(addresses, quote(a.String()))
	}
	ps.list("addresses", addresses)
	ps.add("mac", quote(macText(p.MAC)), p.MAC == [6]byte{})
	ps.whole("mtu", p.MTU, 0)
	ps.whole("ring_slots", p.RingSlots, DefaultRingSlots)
	ps.text("mode", modes.word(p.Mode), modes.word(RingMode))
	ps.text("latency", latency.word(p.Latency), latency.word(Balanced))
	ps.duration("busy_poll", p.BusyPoll, p.Latency.BusyPoll())
	return ps
}

func (r *Route) pairs() (ps pairs) {
	ps.add("dest", quote(netText(r.Dest)), false)
	ps.text("type", routes.word(r.Kind), routes.word(Unicast))
	ps.text("via", addrText(r.Via), "")
	ps.text("port", r.Port, "")
	ps.text("src", addrText(r.Src), "")
	ps.whole("mtu", r.MTU, 0)
	return ps
}

func (n *Neighbor) pairs() (ps pairs) {
	ps.text("address", addrText(n.Address), "")
	ps.add("mac", quote(macText(n.MAC)), false)
	ps.text("port", n.Port, "")
	return ps
}

func (c *Conntrack) timeouts() (ps pairs) {
	ps.duration("tcp", c.TCP, DefaultTCP)
	ps.duration("tcpfin", c.TCPFin, DefaultTCPFin)
	ps.duration("udp", c.UDP, DefaultUDP)
	return ps
}

func (s *Sysctl) pairs() (ps pairs) {
	for i := range settings {
		switch t := &settings[i]; {
		case t.why != "":
		case t.flag != nil:
			ps.flag(t.name, t.flag(s).On(), t.def != 0)
		case t.seconds != nil:
			ps.duration(t.name, *t.seconds(s), time.Duration(t.def)*time.Second)
		default:
			ps.whole(t.name, *t.number(s), t.def)
		}
	}
	return ps
}

func (m *Mark) pairs() (ps pairs) {
	nets := func(key string, list []netip.Prefix) {
		var values []string
		for _, f := range list {
			values = append(values, quote(netText(f)))
		}
		ps.list(key, values)
	}
	ports := func(key string, list []PortRange) {
		var values []string
		for _, r := range list {
			if r.First == r.Last {
				values = append(values, strconv.Itoa(int(r.First)))
			} else {
				values = append(values, fmt.Sprintf(`"%d-%d"`, r.First, r.Last))
			}
		}
		ps.list(key, values)
	}
	ps.add("family", quote(families.word(m.V6)), m.AnyFamily || len(m.prefixes()) > 0)
	if name := markProtocols.word(m.Proto); name != "" {
		ps.text("proto", name, "")
	} else {
		ps.whole("proto", int(m.Proto), 0)
	}
	nets("source", m.Source)
	nets("destination", m.Dest)
	ports("sport", m.SourcePorts)
	ports("dport", m.DestPorts)
	ps.text("in_port", m.InPort, "")
	if mask := m.Mask | m.Value; mask == wholeMark {
		ps.add("value", strconv.FormatUint(uint64(m.Value), 10), false)
	} else {
		ps.add("value", fmt.Sprintf(`"%#x/%#x"`, m.Value, mask), false)
	}
	return ps
}

// pairs are the service's definition, without forward and without its servers.
func (s *Service) pairs() (ps pairs) {
	ps.text("name", s.Name, "")
	if s.Key.Fwmark != 0 {
		ps.add("fwmark", strconv.FormatUint(uint64(s.Key.Fwmark), 10), false)
		ps.text("family", families.word(s.Key.V6), families.word(false))
	} else {
		ps.add("listen", quote(s.Key.String()), false)
	}
	ps.text("scheduler", s.Scheduler, DefaultScheduler)
	var flags []string
	names := schedulerFlags(s.Scheduler)
	for bit := SchedFlag1; bit <= SchedFlag3; bit <<= 1 {
		if s.SchedFlags&bit != 0 {
			flags = append(flags, quote(names.word(bit)))
		}
	}
	ps.add("flags", "["+strings.Join(flags, ", ")+"]", len(flags) == 0)
	ps.flag("one_packet", s.OnePacket, false)
	ps.whole("redispatch", s.Redispatch, 0)
	t := s.Persistence
	ps.add("persistence", t.pairs().inline(), t == Persistence{})
	return ps
}

func (t *Persistence) pairs() (ps pairs) {
	ps.duration("timeout", t.Timeout, DefaultPersistence)
	switch {
	case t.Prefix != 0:
		ps.whole("netmask", t.Prefix, 128)
	case t.Netmask.IsValid():
		if n, ok := prefixLength(t.Netmask); ok {
			ps.whole("netmask", n, 32)
		} else {
			ps.text("netmask", t.Netmask.String(), "")
		}
	}
	ps.text("engine", t.Engine, "")
	return ps
}

// prefixLength is an IPv4 mask as a prefix length, if it has no holes.
func prefixLength(mask netip.Addr) (n int, ok bool) {
	b := mask.As4()
	m := binary.BigEndian.Uint32(b[:])
	n = bits.LeadingZeros32(^m)
	return n, m<<n == 0
}

// pairs are the server's definition. forward is the method that is written on the
// service of the given key.
func (d *Server) pairs(key ServiceKey, forward Forward) (ps pairs) {
	ps.text("name", d.Name, "")
	address := d.String()
	if d.Port == 0 && key.Port != 0 { // without a port it would be the service's
		address = netip.AddrPortFrom(d.Addr, 0).String()
	}
	ps.text("address", address, "")
	ps.whole("weight", d.Weight, DefaultWeight)
	ps.text("forward", d.Forward.String(), forward.String())
	ps.whole("upper", d.Upper, 0)
	ps.whole("lower", d.Lower, 0)
	var tunnel pairs
	if d.Forward == Tunnel {
		tunnel.text("type", tunnels.word(d.TunType), tunnels.word(TunIPIP))
		tunnel.whole("port", int(d.TunPort), 0)
		tunnel.text("checksum", checksums.word(d.TunFlags), checksums.word(0))
	}
	text := tunnel.inline()
	ps.add("tunnel", text, text == "{}")
	return ps
}
