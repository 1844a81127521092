package ipvsadm

import (
	"iter"
	"slices"
	"strconv"

	"github.com/dirigo-lb/dirigo/conf"
)

// Widths of the columns that hold a name. Names of IPv4 services and of their servers
// are cut to them, IPv6 names push the other columns to the right.
const (
	serviceWidth = 33 // protocol and name together
	serverWidth  = 28
)

// layout is the form of a listing. The first that is asked for wins.
type layout uint8

const (
	layoutPlain layout = iota
	layoutStats
	layoutRate
	layoutThresholds
	layoutPersistentConn
	layoutTunInfo
)

func (l *List) layout() layout {
	switch {
	case l.Stats:
		return layoutStats
	case l.Rate:
		return layoutRate
	case l.Thresholds:
		return layoutThresholds
	case l.PersistentConn:
		return layoutPersistentConn
	case l.TunInfo:
		return layoutTunInfo
	}
	return layoutPlain
}

var titles = [...]string{
	layoutPlain: "Prot LocalAddress:Port Scheduler Flags\n" +
		"  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn",
	layoutStats: "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n" +
		"  -> RemoteAddress:Port",
	layoutRate: "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n" +
		"  -> RemoteAddress:Port",
	layoutThresholds: "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn \n" +
		"  -> RemoteAddress:Port",
	layoutPersistentConn: "Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn \n" +
		"  -> RemoteAddress:Port",
	layoutTunInfo: "Prot LocalAddress:Port Scheduler Flags\n" +
		"  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn",
}

// Services writes the whole table (ipvsadm -L). size is that of the connection table, in
// hash rows. With --nosort each entry is written as it comes; else all are held until
// the last one has come. A service may come in parts: see Backend.
func (p *Printer) Services(size int, services iter.Seq[ServiceEntry]) error {
	p.text("IP Virtual Server version " + KernelVersion + " (size=")
	p.line = strconv.AppendInt(p.line, int64(size), 10)
	p.text(")")
	p.end()
	p.text(titles[p.list.layout()])
	p.end()
	if !p.list.NoSort {
		// Sorting has to wait for the last service. Who waits too may see that it has begun.
		if err := p.w.Flush(); err != nil {
			return err
		}
		for _, s := range sorted(whole(services), compareServices) {
			p.service(s)
		}
		return p.w.Flush()
	}
	var last conf.ServiceKey
	for e := range services {
		if e.Service.Key != last {
			p.serviceLine(&e)
			last = e.Service.Key
		}
		if p.serviceServers(&e); p.err != nil {
			break // nobody reads on
		}
	}
	return p.w.Flush()
}

// whole puts the entries of a service together into one.
func whole(services iter.Seq[ServiceEntry]) (all []ServiceEntry) {
	for e := range services {
		if n := len(all); n > 0 && all[n-1].Service.Key == e.Service.Key {
			all[n-1].Servers = append(all[n-1].Servers, e.Servers...)
			continue
		}
		e.Servers = slices.Clip(e.Servers) // what is appended must not go into another's array
		all = append(all, e)
	}
	return all
}

// Service writes one service (ipvsadm -L with a service): no version line.
func (p *Printer) Service(s *ServiceEntry) error {
	p.text(titles[p.list.layout()])
	p.end()
	p.service(s)
	return p.w.Flush()
}

func (p *Printer) servers(s []ServerEntry) []*ServerEntry {
	if p.list.NoSort {
		return pointers(s)
	}
	return sorted(s, compareServers)
}

func pointers[T any](s []T) []*T {
	ps := make([]*T, len(s))
	for i := range s {
		ps[i] = &s[i]
	}
	return ps
}

func (p *Printer) service(e *ServiceEntry) {
	p.serviceLine(e)
	p.serviceServers(e)
}

func (p *Printer) serviceLine(e *ServiceEntry) {
	s := &e.Service
	p.serviceStart(&s.Key)
	switch p.list.layout() {
	case layoutStats:
		p.fill(0, serviceWidth)
		p.stats(&e.Stats)
	case layoutRate:
		p.fill(0, serviceWidth)
		p.rates(&e.Rates)
	default:
		p.serviceFlags(s)
	}
	p.end()
}

func (p *Printer) serviceServers(e *ServiceEntry) {
	for _, d := range p.servers(e.Servers) {
		p.server(&e.Service, d)
	}
}

// serviceStart begins the line of a service.
func (p *Printer) serviceStart(k *conf.ServiceKey) {
	if k.Fwmark != 0 {
		p.text("FWM  ")
		p.line = strconv.AppendInt(p.line, int64(int32(k.Fwmark)), 10) // signed, as ipvsadm shows it
		if k.V6 {
			p.text(" IPv6")
		}
		return
	}
	p.padded(protoName(k.Proto), 4)
	p.line = append(p.line, ' ')
	p.endpoint(k.Addr, k.Port, k.Proto)
	if !k.Addr.Is6() {
		p.line = p.line[:min(len(p.line), serviceWidth)]
	}
}

// serviceFlags appends the scheduler and what else the service has.
func (p *Printer) serviceFlags(s *conf.Service) {
	p.text(" ")
	p.text(s.Scheduler)
	if s.SchedFlags != 0 {
		p.text(" (")
		p.line = appendSchedFlags(p.line, s.Scheduler, s.SchedFlags)
		p.text(")")
	}
	if s.Persistence.Timeout > 0 {
		p.text(" persistent ")
		p.persistence(s, " mask ")
		if s.Persistence.Engine != "" {
			p.text(" pe ")
			p.text(s.Persistence.Engine)
		}
	}
	if s.OnePacket {
		p.text(" ops")
	}
}

// persistence appends timeout and, after the word given, the mask unless it is the default.
func (p *Printer) persistence(s *conf.Service, word string) {
	t := &s.Persistence
	p.line = strconv.AppendInt(p.line, int64(t.Timeout/seconds(1)), 10)
	if serviceV6(&s.Key) {
		if t.Prefix != 0 && t.Prefix != 128 {
			p.text(word)
			p.line = strconv.AppendInt(p.line, int64(t.Prefix), 10)
		}
	} else if t.Netmask.IsValid() && t.Netmask != allOnes {
		p.text(word)
		p.line = t.Netmask.AppendTo(p.line)
	}
}

func (p *Printer) server(s *conf.Service, e *ServerEntry) {
	d := &e.Server
	p.text("  -> ")
	start := len(p.line)
	p.endpoint(d.Addr, d.Port, s.Key.Proto)
	if !serviceV6(&s.Key) {
		p.line = p.line[:min(len(p.line), start+serverWidth)]
	}
	p.fill(start, serverWidth)
	switch p.list.layout() {
	case layoutStats:
		p.stats(&e.Stats)
		p.end()
		return
	case layoutRate: // only the two byte rates are scaled here
		for _, n := range [...]uint64{e.Rates.CPS, e.Rates.InPPS, e.Rates.OutPPS} {
			p.text(" ")
			p.right(n, 8)
		}
		p.large(e.Rates.InBPS)
		p.large(e.Rates.OutBPS)
		p.end()
		return
	case layoutThresholds:
		p.column(d.Upper, 10)
		p.column(d.Lower, 10)
	case layoutPersistentConn:
		p.column(d.Weight, 9)
		p.column(int(e.PersistConn), 11)
	case layoutTunInfo:
		p.text(" ")
		p.padded(methodName(d.Forward), 7)
		p.text(" ")
		p.tunInfo(d)
		p.column(d.Weight, 6)
	default:
		p.text(" ")
		p.padded(methodName(d.Forward), 7)
		p.column(d.Weight, 6)
	}
	p.column(int(e.ActiveConn), 10)
	p.column(int(e.InActConn), 10)
	p.end()
}

// column appends a blank and a number with blanks behind it, the last column's too.
func (p *Printer) column(n, width int) {
	p.text(" ")
	p.left(uint64(max(n, 0)), width)
}

func (p *Printer) stats(s *Stats) {
	for _, n := range [...]uint64{s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes} {
		p.large(n)
	}
}

func (p *Printer) rates(r *Rates) {
	for _, n := range [...]uint64{r.CPS, r.InPPS, r.OutPPS, r.InBPS, r.OutBPS} {
		p.large(n)
	}
}

// tunInfo appends type, port and checksum of a tunnel in 13 columns.
func (p *Printer) tunInfo(d *conf.Server) {
	start := len(p.line)
	switch {
	case d.Forward != conf.Tunnel || int(d.TunType) >= len(tunnelNames):
		p.text("n/a")
	case d.TunType == conf.TunIPIP:
		p.text("ipip")
	default:
		p.text(tunnelNames[d.TunType])
		if d.TunType == conf.TunGUE {
			p.text(":")
			p.line = strconv.AppendUint(p.line, uint64(d.TunPort), 10)
		}
		p.text(":")
		p.text([...]string{"-c", "+c", "r+c", "r+c"}[d.TunFlags&3])
	}
	p.fill(start, 13)
}

func methodName(f conf.Forward) string {
	switch f {
	case conf.NAT:
		return "Masq"
	case conf.Local:
		return "Local"
	case conf.Tunnel:
		return "Tunnel"
	case conf.DR:
		return "Route"
	case conf.Bypass:
		return "Bypass"
	case conf.FullNAT:
		return "FullNat" // as in the Alibaba and DPVS trees
	}
	return "?"
}
