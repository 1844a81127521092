package control

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/ipvsadm"
)

// connRows is the size of the kernel's connection table by default, which listings show.
const connRows = 4096

// changeOf is what a command line changes; ok is false for one that changes no setting.
func changeOf(cmd *ipvsadm.Command) (c conf.Change, ok bool) {
	sec := func(n int) time.Duration { return time.Duration(n) * time.Second }
	switch cmd.Op {
	case ipvsadm.OpAddService:
		return conf.AddService{Service: cmd.Service}, true
	case ipvsadm.OpEditService:
		return conf.EditService{Service: cmd.Service}, true
	case ipvsadm.OpDeleteService:
		return conf.DelService{Key: cmd.Key}, true
	case ipvsadm.OpFlush:
		return conf.Clear{}, true
	case ipvsadm.OpAddServer:
		return conf.AddServer{Key: cmd.Key, Server: cmd.Server}, true
	case ipvsadm.OpEditServer:
		return conf.EditServer{Key: cmd.Key, Server: cmd.Server}, true
	case ipvsadm.OpDeleteServer:
		return conf.DelServer{Key: cmd.Key, Server: cmd.Server.ID()}, true
	case ipvsadm.OpSet:
		return conf.SetTimeouts{TCP: sec(cmd.Timeouts.TCP), TCPFin: sec(cmd.Timeouts.TCPFin), UDP: sec(cmd.Timeouts.UDP)}, true
	}
	return nil, false
}

// ipvsadm obeys a command line, without the program's name, and prints to out what it
// lists. changed says that the table has to be published. An error is an *ipvsadm.Error.
func (d *Director) ipvsadm(argv []string, out io.Writer) (changed bool, err error) {
	cmd, err := ipvsadm.Parse(argv, ipvsadm.Env{})
	if err != nil {
		return false, err
	}
	if c, ok := changeOf(cmd); ok {
		if t, ok := c.(conf.SetTimeouts); ok {
			d.plane.SetTimeouts(t.TCP, t.TCPFin, t.UDP)
			return true, nil
		}
		return true, refused(cmd.Op, d.do(c))
	}
	switch cmd.Op {
	case ipvsadm.OpZero:
		var k *conf.ServiceKey
		if cmd.HasKey {
			k = &cmd.Key
		}
		d.handOver()
		return false, refused(cmd.Op, d.plane.Zero(k))
	case ipvsadm.OpList, ipvsadm.OpSave:
		return false, d.list(cmd, out)
	}
	return false, &ipvsadm.Error{Text: fmt.Sprintf("%v is not possible here", cmd.Op), ExitCode: ipvsadm.ExitRefused}
}

// refused words what the data plane refused as ipvsadm does.
func refused(op ipvsadm.Op, err error) error {
	for sentinel, errno := range map[error]syscall.Errno{
		conf.ErrExists: syscall.EEXIST, conf.ErrNoService: syscall.ESRCH, conf.ErrNoServer: syscall.ENOENT,
		conf.ErrNoScheduler: syscall.ENOENT, conf.ErrRange: syscall.ERANGE,
	} {
		if errors.Is(err, sentinel) {
			return ipvsadm.Refused(op, errno)
		}
	}
	return err
}

// handOver brings the figures up to date. Not while workers run.
func (d *Director) handOver() {
	for _, w := range d.workers {
		w.HandOver()
	}
}

// list prints what ipvsadm -L, -Lc, -L --timeout and -S do. Not while workers run.
func (d *Director) list(cmd *ipvsadm.Command, out io.Writer) error {
	p := ipvsadm.NewPrinter(out, cmd.List, nil)
	switch {
	case cmd.List.Connections:
		return p.Conns(func(yield func(ipvsadm.ConnEntry) bool) {
			d.plane.EachConn(func(c dataplane.Conn) bool {
				return yield(ipvsadm.ConnEntry{Proto: c.Proto, Expire: c.Expires, State: c.State, Client: c.Client,
					Virtual: c.Virtual, Dest: c.Dest, PEName: c.Engine, PEData: c.EngineData})
			})
		})
	case cmd.List.Timeout:
		tcp, fin, udp := d.plane.Timeouts()
		return ipvsadm.WriteTimeouts(out, ipvsadm.Timeouts{TCP: int(tcp.Seconds()), TCPFin: int(fin.Seconds()), UDP: int(udp.Seconds())})
	case cmd.List.Daemon:
		return nil // there is none
	}
	d.handOver()
	list := d.entries(cmd)
	switch {
	case cmd.Op == ipvsadm.OpSave:
		return p.Save(list)
	case cmd.HasKey && len(list) == 0:
		return ipvsadm.Refused(cmd.Op, syscall.ESRCH)
	case cmd.HasKey:
		return p.Service(&list[0])
	}
	return p.Services(connRows, list)
}

// entries are the services that a listing asks for.
func (d *Director) entries(cmd *ipvsadm.Command) (list []ipvsadm.ServiceEntry) {
	for _, s := range d.plane.Services() {
		if cmd.HasKey && s.Key != cmd.Key {
			continue
		}
		e := ipvsadm.ServiceEntry{Service: s.Service, Stats: ipvsadm.Stats(s.Counter), Rates: ipvsadm.Rates(s.Rates)}
		for _, srv := range s.Servers {
			e.Servers = append(e.Servers, ipvsadm.ServerEntry{
				Server: srv.Server, ActiveConn: uint32(srv.Active), InActConn: uint32(srv.Inactive),
				PersistConn: uint32(srv.Persistent), Stats: ipvsadm.Stats(srv.Counter), Rates: ipvsadm.Rates(srv.Rates),
			})
		}
		list = append(list, e)
	}
	return list
}
