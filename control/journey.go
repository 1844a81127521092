package control

import (
	"net"
	"net/netip"
	"time"

	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// journey is a copy of an event, made in the worker: as little as will do. Words are for
// the reader to find.
type journey struct {
	at      time.Time
	worker  int
	bytes   int
	was     packet.Frame // without its bytes
	verdict dataplane.Verdict
	reason  dataplane.Reason
	trace   *dataplane.Trace
	hop     packet.Addr
	sent    []leaving
}

// leaving is a frame that was sent.
type leaving struct {
	is  packet.Frame // without its bytes
	mac packet.MAC
	ip  bool
}

func newJourney(e *dataplane.Event) *journey {
	j := &journey{at: time.Now(), worker: e.Worker, was: *e.Was, bytes: len(e.Was.Bytes()), verdict: e.Verdict, reason: e.Reason, trace: e.Trace.Clone(), hop: e.Hop}
	j.was.Buf = nil
	for _, s := range e.Sent {
		l := leaving{is: *s.Frame}
		l.ip = l.is.Parse() == packet.None
		if l.is.L2 {
			l.mac = l.is.DstMAC()
		}
		l.is.Buf, l.is.Port = nil, s.Port
		j.sent = append(j.sent, l)
	}
	return j
}

// wire puts a journey into words.
func (d *Director) wire(j *journey) *api.Journey {
	out := &api.Journey{
		Time: j.at, Worker: j.worker, Port: d.links[j.was.Port].Name, Bytes: j.bytes,
		ChosenBy: j.trace.Scheduler, EndedBy: j.trace.Ended, Verdict: j.verdict.String(), Reason: j.reason.String(), Rule: j.trace.Rule(j.reason),
	}
	if j.was.Flow != (packet.Flow{}) {
		out.Packet = wirePacket(&j.was)
	}
	if c := j.trace.Conn; c != nil {
		conn := connection(c)
		out.Connection, out.Found = &conn, j.trace.Scheduler == ""
	}
	if s := j.trace.Of(); s != nil {
		out.Service = &s.Key
	}
	if j.hop != (packet.Addr{}) {
		out.NextHop = j.hop.Netip()
	}
	for i := range j.sent {
		l := &j.sent[i]
		s := api.SentFrame{Port: d.links[l.is.Port].Name, Bytes: int(l.is.End - l.is.Start)}
		if l.is.L2 {
			s.To = net.HardwareAddr(l.mac[:]).String()
		}
		if l.ip {
			s.Packet = wirePacket(&l.is)
		}
		out.Sent = append(out.Sent, s)
	}
	return out
}

func wirePacket(f *packet.Frame) *api.Packet {
	p := &api.Packet{
		Proto: protoName(f.Flow.Proto), Source: netip.AddrPortFrom(f.Flow.Src.Netip(), f.Flow.SrcPort), Dest: netip.AddrPortFrom(f.Flow.Dst.Netip(), f.Flow.DstPort),
		Bytes: f.IPLen(), TTL: f.TTL, DF: f.DF, Fragment: f.Fragment(),
	}
	if f.Flow.Proto == packet.TCP {
		for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
			if f.TCPFlags&(1<<i) != 0 {
				p.Flags = append(p.Flags, name)
			}
		}
	}
	return p
}
