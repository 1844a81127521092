package ipvsadm

import (
	"iter"
	"strconv"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// Save writes the table as command lines that Restore reads (ipvsadm -S). As in
// ipvsadm, thresholds, timeouts and daemons are not saved.
func (p *Printer) Save(services iter.Seq[ServiceEntry]) error {
	for _, e := range sorted(whole(services), compareServices) {
		p.saveService(&e.Service)
		for _, d := range sorted(e.Servers, compareServers) {
			p.saveServer(&e.Service, &d.Server)
		}
	}
	return p.w.Flush()
}

func (p *Printer) saveService(s *conf.Service) {
	p.saveName(&s.Key)
	p.text("-A ")
	p.line = append(p.line, p.name...)
	p.text(" -s ")
	p.text(s.Scheduler)
	if s.Persistence.Timeout > 0 {
		p.text(" -p ")
		p.persistence(s, " -M ")
	}
	if s.Persistence.Engine != "" {
		p.text(" --pe ")
		p.text(s.Persistence.Engine)
	}
	if s.OnePacket {
		p.text(" -o")
	}
	if flags := appendSchedFlags(nil, s.Scheduler, s.SchedFlags); len(flags) > 0 {
		p.text(" -b ")
		p.line = append(p.line, flags...)
	}
	p.end()
}

// saveName puts the option that names the service into p.name.
func (p *Printer) saveName(k *conf.ServiceKey) {
	switch {
	case k.Fwmark != 0: // ipvsadm writes it signed and cannot read it back; so do we
		p.text("-f ")
		p.line = strconv.AppendInt(p.line, int64(int32(k.Fwmark)), 10)
		if k.V6 {
			p.text(" -6")
		}
	default:
		switch k.Proto {
		case packet.UDP:
			p.text("-u ")
		case packet.SCTP:
			p.text("--sctp-service ")
		default:
			p.text("-t ")
		}
		p.endpoint(k.Addr, k.Port, k.Proto)
	}
	p.name = append(p.name[:0], p.line...)
	p.line = p.line[:0]
}

func (p *Printer) saveServer(s *conf.Service, d *conf.Server) {
	p.text("-a ")
	p.line = append(p.line, p.name...)
	p.text(" -r ")
	p.endpoint(d.Addr, d.Port, s.Key.Proto)
	p.text(methodSwitch(d.Forward))
	p.text(" -w ")
	p.line = strconv.AppendInt(p.line, int64(d.Weight), 10)
	if d.Forward == conf.Tunnel && int(d.TunType) < len(tunnelNames) {
		p.saveTunnel(d)
	}
	p.end()
}

func (p *Printer) saveTunnel(d *conf.Server) {
	p.text(" --tun-type ")
	p.text(tunnelNames[d.TunType])
	if d.TunType == conf.TunGUE {
		p.text(" --tun-port ")
		p.line = strconv.AppendUint(p.line, uint64(d.TunPort), 10)
	}
	if d.TunType != conf.TunIPIP {
		p.text([...]string{" --tun-nocsum", " --tun-csum", " --tun-remcsum", " --tun-remcsum"}[d.TunFlags&3])
	}
}

func methodSwitch(f conf.Forward) string {
	switch f {
	case conf.NAT:
		return " -m"
	case conf.Tunnel:
		return " -i"
	case conf.FullNAT:
		return " --fullnat"
	}
	return " -g" // a local server too: the kernel finds out by itself
}
