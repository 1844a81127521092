package kernel

import (
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/ipvsadm"
)

// machineServices is what recordings show of the recorded machine's services(5), and
// ports that every such file names alike; 3868/sctp had no name there.
const machineServices = `
ftp 21/tcp
ssh 22/tcp
telnet 23/tcp
smtp 25/tcp mail
domain 53/tcp
domain 53/udp
tftp 69/udp
http 80/tcp www
pop3 110/tcp
ntp 123/udp
imap2 143/tcp imap
snmp 161/udp
ldap 389/tcp
https 443/tcp
https 443/udp
imaps 993/tcp
pop3s 995/tcp
mysql 3306/tcp
sip 5060/tcp
sip 5060/udp
sip-tls 5061/tcp
sip-tls 5061/udp
postgresql 5432/tcp
http-alt 8080/tcp webcache
`

// machineEnv has the names that the recorded machine had.
var machineEnv = func() ipvsadm.Env {
	names, err := ipvsadm.ReadNames(strings.NewReader("127.0.0.1 localhost\n"), strings.NewReader(machineServices))
	if err != nil {
		panic(err) // a string reader does not fail
	}
	return ipvsadm.Env{Names: names, Namer: names}
}()

// backend is the replayed director as ipvsadm sees it.
type backend shell

// Change is of ipvsadm.Backend.
func (b *backend) Change(commands iter.Seq[*ipvsadm.Command]) (errs []error, err error) {
	d := b.d
	b.changed = true
	for c := range commands {
		errs = append(errs, d.change(c))
	}
	d.plane.Publish()
	d.orphans = d.now + conntrack.TickLen
	return errs, nil
}

// change obeys one command.
func (d *director) change(cmd *ipvsadm.Command) (err error) {
	switch cmd.Op {
	case ipvsadm.OpAddService:
		return d.plane.AddService(cmd.Service)
	case ipvsadm.OpEditService:
		return d.plane.EditService(cmd.Service)
	case ipvsadm.OpDeleteService:
		return d.plane.DeleteService(cmd.Key)
	case ipvsadm.OpAddServer:
		if err := d.mixes(cmd); err != nil {
			return err
		}
		return d.plane.AddServer(cmd.Key, cmd.Server)
	case ipvsadm.OpEditServer:
		if err := d.mixes(cmd); err != nil {
			return err
		}
		return d.plane.EditServer(cmd.Key, cmd.Server)
	case ipvsadm.OpDeleteServer:
		return d.plane.DeleteServer(cmd.Key, cmd.Server)
	case ipvsadm.OpFlush:
		for _, s := range d.plane.Services() {
			err = errors.Join(err, d.plane.DeleteService(s.Key))
		}
		return err
	case ipvsadm.OpSet:
		sec := func(n int) time.Duration { return time.Duration(n) * time.Second }
		d.plane.SetTimeouts(sec(cmd.Timeouts.TCP), sec(cmd.Timeouts.TCPFin), sec(cmd.Timeouts.UDP))
		return nil
	case ipvsadm.OpZero:
		var k *conf.ServiceKey
		if cmd.HasKey {
			k = &cmd.Key
		}
		d.worker.HandOver()
		return d.plane.Zero(k)
	case ipvsadm.OpStartDaemon:
		return d.startDaemon(cmd.Daemon)
	case ipvsadm.OpStopDaemon:
		return d.stopDaemon(cmd.Daemon)
	}
	return errors.New("not replayed")
}

// Services is of ipvsadm.Backend. It gives one server at a time, as a director with many
// of them may.
func (b *backend) Services(only *conf.ServiceKey) iter.Seq2[ipvsadm.ServiceEntry, error] {
	return func(yield func(ipvsadm.ServiceEntry, error) bool) {
		b.d.worker.HandOver()
		found := only == nil
		for _, s := range b.d.plane.Services() {
			if only != nil && s.Key != *only {
				continue
			}
			found = true
			e := ipvsadm.ServiceEntry{Service: s.Service, Stats: ipvsadm.Stats(s.Counter), Rates: ipvsadm.Rates(s.Rates)}
			if len(s.Servers) == 0 && !yield(e, nil) {
				return
			}
			for _, srv := range s.Servers {
				e.Servers = []ipvsadm.ServerEntry{{
					Server: srv.Server, ActiveConn: uint32(srv.Active), InActConn: uint32(srv.Inactive),
					PersistConn: uint32(srv.Persistent), Stats: ipvsadm.Stats(srv.Counter), Rates: ipvsadm.Rates(srv.Rates),
				}}
				if !yield(e, nil) {
					return
				}
			}
		}
		if !found {
			yield(ipvsadm.ServiceEntry{}, conf.ErrNoService)
		}
	}
}

// Conns is of ipvsadm.Backend.
func (b *backend) Conns() iter.Seq2[ipvsadm.ConnEntry, error] {
	b.conns = true
	return func(yield func(ipvsadm.ConnEntry, error) bool) {
		b.d.plane.EachConn(func(c dataplane.Conn) bool {
			return yield(ipvsadm.ConnEntry{
				Proto: c.Proto, Expire: c.Expires, State: c.State, Client: c.Client, Virtual: c.Virtual, Dest: c.Dest,
				PEName: c.Engine, PEData: c.EngineData,
			}, nil)
		})
	}
}

// Info is of ipvsadm.Backend.
func (b *backend) Info() (ipvsadm.Info, error) {
	tcp, fin, udp := b.d.plane.Timeouts()
	return ipvsadm.Info{
		TableSize: tableSize,
		Timeouts:  ipvsadm.Timeouts{TCP: int(tcp.Seconds()), TCPFin: int(fin.Seconds()), UDP: int(udp.Seconds())},
		Daemons:   b.d.daemons,
	}, nil
}

// tableSize is that of the recorded kernel's connection table.
const tableSize = 4096

// without drops the errors of a sequence; the replayed director gives none.
func without[T any](seq iter.Seq2[T, error]) iter.Seq[T] {
	return func(yield func(T) bool) {
		for v := range seq {
			if !yield(v) {
				return
			}
		}
	}
}
