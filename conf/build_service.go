package conf

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

func (p *problems) service(raw *rawService, file *rawConfig) Service {
	s := Service{
		Name:       p.text(raw.Name, ""),
		Key:        p.serviceKey(raw),
		Scheduler:  p.text(raw.Scheduler, DefaultScheduler),
		OnePacket:  p.flag(raw.OnePacket, false),
		Redispatch: p.whole(raw.Redispatch, 0),
	}
	s.SchedFlags = p.schedulerFlags(raw, s.Scheduler)
	if raw.Persistence != nil {
		s.Persistence = p.persistence(raw.Persistence, s.Key)
	}
	method := noMethod
	if raw.Forward.written {
		method = p.forward(raw.Forward)
	}
	for i := range raw.Server {
		r := &raw.Server[i]
		own := method
		if r.Forward.written {
			own = p.forward(r.Forward)
		} else if raw.Forward.written {
			p.settle(join(r.At, "forward")) // judged where it is written
		}
		s.Servers = append(s.Servers, p.server(r, s.Key, own))
	}
	s.Health = p.health(raw, &s, file)
	return s
}

// serviceKey reads listen, or fwmark and family.
func (p *problems) serviceKey(raw *rawService) (k ServiceKey) {
	listen, fwmark := join(raw.At, "listen"), join(raw.At, "fwmark")
	switch {
	case raw.Listen.written && raw.Fwmark.written:
		p.add(fwmark, "stands beside listen; a service has either an address (listen) or a mark (fwmark)")
		p.settle(listen)
	case raw.Listen.written:
		text := p.text(raw.Listen, "")
		if p.seen[listen] {
			return k
		}
		var err error
		if k, err = parseListen(text); err != nil {
			p.add(listen, "%v", err)
		}
		if raw.Family.written {
			p.add(raw.Family.path, "is for fwmark services; listen says the family by its address")
		}
	case raw.Fwmark.written:
		p.settle(listen)
		n, ok := raw.Fwmark.v.(int64)
		if !ok || n < 1 || n > 1<<32-1 {
			p.add(fwmark, "is %s, not a mark; write a number from 1 to 4294967295", kindOf(raw.Fwmark.v))
			return k
		}
		k = ServiceKey{Fwmark: uint32(n), V6: choice(p, raw.Family, false, "a family", families)}
	}
	return k
}

// schedulerFlags reads the flags by the scheduler's names for them.
func (p *problems) schedulerFlags(raw *rawService, scheduler string) (flags uint8) {
	if !slices.Contains(schedulers, scheduler) {
		return 0 // whose flags they are is not known
	}
	known := schedulerFlags(scheduler)
	for _, v := range p.list(raw.Flags) {
		flags |= choice(p, v, 0, "a flag of scheduler "+scheduler, known)
	}
	return flags
}

func (p *problems) persistence(raw *rawPersistence, key ServiceKey) Persistence {
	s := Persistence{
		Timeout: p.duration(raw.Timeout, DefaultPersistence),
		Engine:  choice(p, raw.Engine, "", "a persistence engine", engines),
	}
	known := key.Fwmark != 0 || key.Addr.IsValid() // else its family is not
	switch {
	case !raw.Netmask.written || !known:
	case s.Timeout == 0:
		p.add(raw.Netmask.path, "has no meaning with timeout = 0; write a timeout, or leave the netmask out")
	case key.V6Service():
		s.Prefix = p.whole(raw.Netmask, 0)
		if s.Prefix < 1 || s.Prefix > 128 {
			p.add(raw.Netmask.path, "is %s; write a prefix length from 1 to 128 for an IPv6 service", kindOf(raw.Netmask.v))
		}
	default:
		s.Netmask = p.netmask(raw.Netmask)
	}
	if s.Netmask == allOnes {
		s.Netmask = netip.Addr{}
	}
	if s.Prefix == 128 {
		s.Prefix = 0
	}
	return s
}

// netmask reads 24 or "255.255.255.0". Holes are allowed: the kernel only ANDs.
func (p *problems) netmask(v value) netip.Addr {
	switch m := v.v.(type) {
	case int64:
		if m >= 0 && m <= 32 {
			return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-m))))
		}
	case string:
		if a, err := netip.ParseAddr(m); err == nil && a.Is4() {
			return a
		}
	}
	p.add(v.path, `is %s; write a prefix length from 0 to 32, or a mask like "255.255.255.0"`, kindOf(v.v))
	return netip.Addr{}
}

// noMethod stands for a forwarding method that is missing or mistaken. There is no
// default: ipvsadm's is dr, keepalived's is nat, and the wrong one looks like a server
// that does not answer.
const noMethod Forward = 0xff

func (p *problems) forward(v value) Forward {
	if word, ok := v.v.(string); ok && spoken[word] != "" {
		p.add(v.path, "%q is another tool's word; did you mean %q?", word, spoken[word])
	}
	return choice(p, v, noMethod, "a forwarding method", forwards)
}

func (p *problems) server(raw *rawServer, key ServiceKey, method Forward) Server {
	d := Server{
		Name:    p.text(raw.Name, ""),
		Forward: method,
		Weight:  p.whole(raw.Weight, DefaultWeight),
		Upper:   p.whole(raw.Upper, 0),
		Lower:   p.whole(raw.Lower, 0),
	}
	text := p.text(raw.Address, "")
	if raw.Address.written && !p.seen[raw.Address.path] {
		addr, port, err := hostPort(text, false)
		if err != nil {
			p.add(raw.Address.path, `%q: %v; write it like "192.168.2.100:80" or "[2001:db8::100]:80"`, text, err)
		}
		if port < 0 {
			port = int(key.Port) // as ipvsadm -r does; 0 for a fwmark service
		}
		d.Addr, d.Port = addr, uint16(port)
	}
	if raw.Tunnel != nil {
		p.tunnel(&d, raw.Tunnel)
	}
	return d
}

func (p *problems) tunnel(d *Server, raw *rawTunnel) {
	if d.Forward == noMethod {
		return
	}
	if d.Forward != Tunnel {
		p.add(raw.At, "belongs to forward = \"tun\"; this server's method is %v", d.Forward)
		return
	}
	d.TunType = choice(p, raw.Type, TunIPIP, "a tunnel type", tunnels)
	if p.seen[raw.Type.path] {
		return // what the other keys may be depends on it
	}
	d.TunFlags = choice(p, raw.Checksum, 0, "a tunnel checksum", checksums)
	if raw.Port.written {
		n := p.whole(raw.Port, 0)
		if n < 1 || n > 65535 {
			p.add(raw.Port.path, "is %s; write a port from 1 to 65535", kindOf(raw.Port.v))
			return
		}
		d.TunPort = uint16(n)
	}
}
