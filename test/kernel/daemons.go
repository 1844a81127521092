package kernel

import (
	"cmp"
	"net/netip"
	"slices"
	"syscall"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/ipvsadm"
)

// startDaemon keeps the books of the sync daemons as ip_vs_genl_new_daemon and
// start_sync_thread do; no daemon runs here.
func (d *director) startDaemon(c ipvsadm.Daemon) error {
	for _, s := range d.plane.Services() {
		for _, srv := range s.Servers {
			if srv.Addr.Is6() != v6(s.Key) { // the sync protocol cannot say such a connection
				return conf.ErrInvalid
			}
		}
	}
	i := slices.IndexFunc(d.env.Ports, func(p dataplane.PortEnv) bool { return p.Name == c.Interface })
	if i < 0 {
		return syscall.ENODEV
	}
	if slices.ContainsFunc(d.daemons, func(o ipvsadm.Daemon) bool { return o.Role == c.Role }) {
		return conf.ErrExists
	}
	if !c.Group.IsValid() {
		c.Group = netip.AddrFrom4([4]byte{224, 0, 0, 81})
	}
	c.Port, c.TTL = cmp.Or(c.Port, 8848), cmp.Or(c.TTL, 1)
	headers, mtu, least := 20+8, 1500, 1
	if c.Group.Is6() {
		headers = 40 + 8
	}
	if c.Role == ipvsadm.Backup {
		mtu, least = max(d.env.Ports[i].MTU, mtu), 1024
	}
	if c.MaxLen == 0 {
		c.MaxLen = mtu - headers
	}
	c.MaxLen = min(max(c.MaxLen, least), 65535-headers)
	d.daemons = append(d.daemons, c)
	return nil
}

func (d *director) stopDaemon(c ipvsadm.Daemon) error {
	i := slices.IndexFunc(d.daemons, func(o ipvsadm.Daemon) bool { return o.Role == c.Role })
	if i < 0 {
		return conf.ErrNoService // ESRCH
	}
	d.daemons = slices.Delete(d.daemons, i, i+1)
	return nil
}

// mixes refuses a server of the other family while a daemon runs.
func (d *director) mixes(cmd *ipvsadm.Command) error {
	if len(d.daemons) > 0 && cmd.Server.Addr.Is6() != v6(cmd.Key) {
		for _, s := range d.plane.Services() {
			if s.Key == cmd.Key {
				return conf.ErrInvalid
			}
		}
	}
	return nil
}

func v6(k conf.ServiceKey) bool { return k.V6 || k.Addr.Is6() }
