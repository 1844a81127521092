package control

import (
	"fmt"
	"iter"
	"syscall"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/ipvsadm"
)

// connRows is the size of the kernel's connection table by default, which listings show.
const connRows = 4096

// atRest is a director without running workers, of a replay, as ipvsadm sees it.
type atRest struct {
	d       *Director
	changed bool // the table has to be published
}

// Change is of ipvsadm.Backend.
func (b *atRest) Change(commands iter.Seq[*ipvsadm.Command]) (errs []error, err error) {
	for cmd := range commands {
		err := b.change(cmd)
		errs = append(errs, err)
		b.changed = b.changed || err == nil
	}
	return errs, nil
}

func (b *atRest) change(cmd *ipvsadm.Command) error {
	if c, ok := cmd.Change(); ok {
		if t, ok := c.(conf.SetTimeouts); ok {
			b.d.plane.SetTimeouts(t.TCP, t.TCPFin, t.UDP)
			return nil
		}
		if e, ok := c.(conf.EditService); ok {
			if old, ok := b.d.plane.Service(e.Service.Key); ok {
				c = conf.EditService{Service: e.Over(&old.Service)}
			}
		}
		return b.d.do(c, b.clearing(c))
	}
	if cmd.Op == ipvsadm.OpZero {
		b.d.handOver()
		return b.d.plane.Zero(keyOf(cmd))
	}
	return noDaemons(cmd)
}

// clearing is what a Clear has to take away.
func (b *atRest) clearing(c conf.Change) *conf.Step {
	var step conf.Step
	if _, ok := c.(conf.Clear); ok {
		for _, s := range b.d.plane.Services() {
			step.Services = append(step.Services, s.Service)
		}
	}
	return &step
}

// noDaemons is the refusal of a command about connection sync.
func noDaemons(cmd *ipvsadm.Command) error {
	if cmd.Op == ipvsadm.OpStopDaemon {
		return syscall.ESRCH // none runs
	}
	return &ipvsadm.Error{Text: fmt.Sprintf("%v is not possible here: connections are not synchronized in this version", cmd.Op), ExitCode: ipvsadm.ExitRefused}
}

func keyOf(cmd *ipvsadm.Command) *conf.ServiceKey {
	if !cmd.HasKey {
		return nil
	}
	return &cmd.Key
}

// handOver brings the figures up to date. Not while workers run.
func (d *Director) handOver() {
	for _, w := range d.workers {
		w.HandOver()
	}
}

// Services is of ipvsadm.Backend.
func (b *atRest) Services(only *conf.ServiceKey) iter.Seq2[ipvsadm.ServiceEntry, error] {
	b.d.handOver()
	return func(yield func(ipvsadm.ServiceEntry, error) bool) {
		found := only == nil
		for _, s := range b.d.plane.Services() {
			if only != nil && s.Key != *only {
				continue
			}
			found = true
			if !yield(entryOf(&s), nil) {
				return
			}
		}
		if !found {
			yield(ipvsadm.ServiceEntry{}, conf.ErrNoService)
		}
	}
}

// entryOf is a service as listings show it.
func entryOf(s *dataplane.ServiceStatus) ipvsadm.ServiceEntry {
	e := ipvsadm.ServiceEntry{Service: s.Service, Stats: ipvsadm.Stats(s.Counter), Rates: ipvsadm.Rates(s.Rates)}
	for _, srv := range s.Servers {
		e.Servers = append(e.Servers, ipvsadm.ServerEntry{
			Server: srv.Server, ActiveConn: uint32(srv.Active), InActConn: uint32(srv.Inactive),
			PersistConn: uint32(srv.Persistent), Stats: ipvsadm.Stats(srv.Counter), Rates: ipvsadm.Rates(srv.Rates),
		})
	}
	return e
}

// Conns is of ipvsadm.Backend.
func (b *atRest) Conns() iter.Seq2[ipvsadm.ConnEntry, error] {
	return func(yield func(ipvsadm.ConnEntry, error) bool) {
		b.d.plane.EachConn(func(c dataplane.Conn) bool { return yield(connEntryOf(&c), nil) })
	}
}

// connEntryOf is a connection as listings show it.
func connEntryOf(c *dataplane.Conn) ipvsadm.ConnEntry {
	return ipvsadm.ConnEntry{Proto: c.Proto, Expire: c.Expires, State: c.State, Client: c.Client,
		Virtual: c.Virtual, Dest: c.Dest, PEName: c.Engine, PEData: c.EngineData}
}

// Info is of ipvsadm.Backend.
func (b *atRest) Info() (ipvsadm.Info, error) { return b.d.info(), nil }

func (d *Director) info() ipvsadm.Info {
	tcp, fin, udp := d.plane.Timeouts()
	return ipvsadm.Info{TableSize: connRows,
		Timeouts: ipvsadm.Timeouts{TCP: int(tcp.Seconds()), TCPFin: int(fin.Seconds()), UDP: int(udp.Seconds())}}
}
