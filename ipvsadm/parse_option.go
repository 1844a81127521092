package ipvsadm

import (
	"net/netip"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// Bytes kept of names, from struct ip_vs_service_user and ip_vs_daemon_user.
const (
	maxScheduler = 15 // IP_VS_SCHEDNAME_MAXLEN - 1
	maxInterface = 15 // IP_VS_IFNAME_MAXLEN - 1
	maxEngine    = 16 // IP_VS_PENAME_MAXLEN
)

func clip(s string, n int) string { return s[:min(len(s), n)] }

// option takes one option of the service, the server or the persistence; the others
// are handed on.
func (p *parser) option(it item) *Error {
	var ok bool
	var err *Error
	switch it.opt {
	case optService:
		return p.optService(it)
	case optIPv6:
		if p.cmd.Key.Fwmark == 0 {
			return bad("-6 used before -f\n")
		}
		p.v6, p.cmd.Key.V6, p.prefix = true, true, 0
	case optScheduler:
		p.service.Scheduler = clip(it.value, maxScheduler)
	case optSchedFlags:
		p.schedFlags = it.value
	case optPersistent:
		n := defaultPersistence
		if it.given {
			if n, err = timeout(it.value, 1); err != nil {
				return err
			}
		}
		p.service.Persistence.Timeout = seconds(n)
	case optNetmask:
		return p.optNetmask(it.value)
	case optOnePacket:
		p.service.OnePacket = true
	case optEngine:
		p.service.Persistence.Engine = clip(it.value, maxEngine)
	case optServer:
		return p.optServer(it.value)
	case optForward:
		p.server.Forward = forwardOf(it.long)
	case optWeight:
		if p.server.Weight, ok = number(it.value, 0, maxThreshold); !ok {
			return bad("illegal weight specified")
		}
	case optUpper:
		if p.server.Upper, ok = number(it.value, 0, maxThreshold); !ok {
			return bad("illegal u_threshold specified")
		}
	case optLower:
		if p.server.Lower, ok = number(it.value, 0, maxThreshold); !ok {
			return bad("illegal l_threshold specified")
		}
	case optTunType, optTunPort, optTunNoCsum, optTunCsum, optTunRemCsum:
		return p.optTunnel(it)
	case optSyncID, optSyncMaxLen, optMcastInterface, optMcastGroup, optMcastPort, optMcastTTL:
		return p.optDaemon(it)
	default:
		p.optList(it.opt)
	}
	return nil
}

// optService takes -t, -u, --sctp-service or -f.
func (p *parser) optService(it item) *Error {
	if it.long == "fwmark-service" {
		mark, err := fwmark(it.value)
		p.proto, p.cmd.Key = packet.TCP, conf.ServiceKey{Fwmark: mark}
		return err
	}
	p.proto = map[string]uint8{
		"tcp-service": packet.TCP, "udp-service": packet.UDP, "sctp-service": packet.SCTP,
	}[it.long]
	e, ok := parseEndpoint(it.value, p.proto, p.env.Names)
	if !ok {
		return bad("illegal virtual server address[:port] specified")
	}
	p.cmd.Key = conf.ServiceKey{Proto: p.proto, Addr: e.addr, Port: e.port}
	p.v6 = e.addr.Is6()
	return nil
}

// optServer takes -r. Without a port the server has the service's, if that came before.
func (p *parser) optServer(word string) *Error {
	e, ok := parseEndpoint(word, p.proto, p.env.Names)
	if !ok {
		return bad("illegal real server address[:port] specified")
	}
	p.server.Addr, p.server.Port = e.addr, e.port
	if !e.hasPort {
		p.server.Port = p.cmd.Key.Port
	}
	return nil
}

// optNetmask takes -M, a prefix length if the service is known to be IPv6 by now, else
// a mask. The defaults are kept as zero values, as in conf.Persistence.
func (p *parser) optNetmask(word string) *Error {
	if p.v6 {
		v, _, _, _ := strtol(word) // ipvsadm stops at the first non-digit
		if v < 1 || v > 128 {
			return bad("illegal ipv6 netmask specified")
		}
		p.prefix = int(v) % 128
		return nil
	}
	mask, ok := parse4(word, p.env.Names)
	if !ok {
		return bad("illegal virtual server persistent mask specified")
	}
	if p.mask = mask; mask == allOnes {
		p.mask = netip.Addr{}
	}
	return nil
}

// allOnes is the default mask of an IPv4 service.
var allOnes = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func forwardOf(long string) conf.Forward {
	switch long {
	case "masquerading":
		return conf.NAT
	case "ipip":
		return conf.Tunnel
	case "fullnat":
		return conf.FullNAT
	}
	return conf.DR
}

func (p *parser) optTunnel(it item) *Error {
	switch it.opt {
	case optTunType:
		for t, name := range tunnelNames {
			if it.value == name {
				p.server.TunType = conf.TunType(t)
				return nil
			}
		}
		return bad("illegal tunnel type specified")
	case optTunPort:
		n, ok := number(it.value, 1, 65535)
		if !ok {
			return bad("illegal tunnel port specified")
		}
		p.server.TunPort = uint16(n)
	case optTunCsum:
		p.server.TunFlags |= 1
	case optTunRemCsum:
		p.server.TunFlags |= 2
	}
	return nil
}

func (p *parser) optDaemon(it item) *Error {
	d := &p.cmd.Daemon
	var n int
	ok := true
	switch it.opt {
	case optSyncID:
		d.SyncID, ok = number(it.value, 0, 255)
	case optSyncMaxLen:
		d.MaxLen, ok = number(it.value, 1, 65535-20-8) // IPv4 and UDP headers
	case optMcastInterface:
		d.Interface = clip(it.value, maxInterface)
	case optMcastPort:
		n, ok = number(it.value, 1, 65535)
		d.Port = uint16(n)
	case optMcastTTL:
		n, ok = number(it.value, 1, 255)
		d.TTL = uint8(n)
	case optMcastGroup:
		family := "IPv4"
		if strings.Contains(it.value, ":") {
			family = "IPv6"
		}
		a, err := netip.ParseAddr(it.value)
		if err != nil || a.Zone() != "" || !isMulticast(a) {
			return bad("invalid %s mcast-group `%s'", family, it.value)
		}
		d.Group = a
	}
	if !ok {
		return bad("illegal %v specified", it.opt)
	}
	return nil
}

// isMulticast is netip's, but never true for an IPv4 address in IPv6 clothes.
func isMulticast(a netip.Addr) bool { return a.IsMulticast() && !a.Is4In6() }

func (p *parser) optList(o option) {
	l := &p.cmd.List
	switch o {
	case optNumeric:
		l.Numeric = true
	case optConnection:
		l.Connections = true
	case optTimeout:
		l.Timeout = true
	case optDaemon:
		l.Daemon = true
	case optStats:
		l.Stats = true
	case optRate:
		l.Rate = true
	case optThresholds:
		l.Thresholds = true
	case optPersistentConn:
		l.PersistentConn = true
	case optTunInfo:
		l.TunInfo = true
	case optNoSort:
		l.NoSort = true
	case optExact:
		l.Exact = true
	}
}
