package api

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// Change is one change of the running state, or one command that belongs between such:
// zero. Which fields mean something depends on Op.
type Change struct {
	Op       string           `json:"op"`
	Service  *Service         `json:"definition,omitempty"` // add_service, with its servers; edit_service, without
	Key      *conf.ServiceKey `json:"service,omitempty"`    // delete_service, *_server; zero: nil is all
	Server   *Server          `json:"server,omitempty"`     // add_server, edit_server
	Address  *netip.AddrPort  `json:"address,omitempty"`    // delete_server
	Timeouts *Timeouts        `json:"timeouts,omitempty"`   // set_timeouts
	Name     string           `json:"name,omitempty"`       // set_sysctl, without net.ipv4.vs.
	Value    string           `json:"value,omitempty"`      // set_sysctl
}

// Operations of a Change.
const (
	OpAddService    = "add_service"
	OpEditService   = "edit_service"
	OpDeleteService = "delete_service"
	OpClear         = "clear"
	OpAddServer     = "add_server"
	OpEditServer    = "edit_server"
	OpDeleteServer  = "delete_server"
	OpSetTimeouts   = "set_timeouts"
	OpSetSysctl     = "set_sysctl"
	OpZero          = "zero"
)

// Timeouts are those that ipvsadm --set changes, in seconds. In a change 0 leaves one as
// it is.
type Timeouts struct {
	TCP    int `json:"tcp_seconds"`
	TCPFin int `json:"tcpfin_seconds"`
	UDP    int `json:"udp_seconds"`
}

// ChangesReply answers POST /v1/changes: 200 with what was refused, if Whole is not set;
// 422 if anything of a whole was.
type ChangesReply struct {
	Refused []Refusal `json:"refused,omitempty"`
	Error   string    `json:"error,omitempty"` // of the request as a whole
}

// Refusal says why one change was not made.
type Refusal struct {
	Index  int    `json:"index"`           // into Changes
	Kind   string `json:"kind,omitempty"`  // one of the kinds below; "" for any other
	Errno  int    `json:"errno,omitempty"` // what a kernel would have answered, if it is none of the kinds
	Reason string `json:"reason"`
}

// kinds are the refusals that callers tell apart. The more particular stand first: what
// breaks a rule is often of two kinds.
var kinds = []struct {
	name string
	err  error
}{
	{"exists", conf.ErrExists},
	{"no_service", conf.ErrNoService},
	{"no_server", conf.ErrNoServer},
	{"no_scheduler", conf.ErrNoScheduler},
	{"no_sysctl", conf.ErrNoSysctl},
	{"range", conf.ErrRange},
	{"invalid", conf.ErrInvalid},
}

// Refuse words an error for the wire.
func Refuse(index int, err error) Refusal {
	r := Refusal{Index: index, Reason: err.Error()}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			r.Kind = k.name
			return r
		}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		r.Errno = int(errno)
	}
	return r
}

// Err is the refusal as an error that wraps its kind.
func (r *Refusal) Err() error {
	for _, k := range kinds {
		if k.name == r.Kind {
			return fmt.Errorf("%s%w", r.Reason, silent{k.err})
		}
	}
	if r.Errno != 0 {
		return fmt.Errorf("%s%w", r.Reason, silent{syscall.Errno(r.Errno)})
	}
	return errors.New(r.Reason)
}

// silent is an error without words: the reason has said it already.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// Conf is the change in the words of the desired state; zero is none and gives nil.
func (c *Change) Conf() (conf.Change, error) {
	need := func(ok bool, what string) error {
		if ok {
			return nil
		}
		return fmt.Errorf("%s without %s: %w", c.Op, what, conf.ErrInvalid)
	}
	switch c.Op {
	case OpAddService, OpEditService:
		if err := need(c.Service != nil, "definition"); err != nil {
			return nil, err
		}
		s, err := c.Service.Conf()
		if err != nil {
			return nil, fmt.Errorf("%s %v: %w: %w", c.Op, c.Service.Service, conf.ErrInvalid, err)
		}
		if c.Op == OpAddService {
			return conf.AddService{Service: s}, nil
		}
		if c.Service.Redispatch == nil {
			s.Redispatch = conf.SameRedispatch
		}
		return conf.EditService{Service: s}, nil
	case OpDeleteService:
		if err := need(c.Key != nil, "service"); err != nil {
			return nil, err
		}
		return conf.DelService{Key: *c.Key}, nil
	case OpClear:
		return conf.Clear{}, nil
	case OpAddServer, OpEditServer:
		if err := errors.Join(need(c.Key != nil, "service"), need(c.Server != nil, "server")); err != nil {
			return nil, err
		}
		d, err := c.Server.Conf()
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", c.Op, conf.ErrInvalid, err)
		}
		if c.Op == OpAddServer {
			return conf.AddServer{Key: *c.Key, Server: d}, nil
		}
		return conf.EditServer{Key: *c.Key, Server: d}, nil
	case OpDeleteServer:
		if err := errors.Join(need(c.Key != nil, "service"), need(c.Address != nil, "address")); err != nil {
			return nil, err
		}
		return conf.DelServer{Key: *c.Key, Server: conf.ServerID{Addr: c.Address.Addr(), Port: c.Address.Port()}}, nil
	case OpSetTimeouts:
		if err := need(c.Timeouts != nil, "timeouts"); err != nil {
			return nil, err
		}
		sec := func(n int) time.Duration { return time.Duration(n) * time.Second }
		return conf.SetTimeouts{TCP: sec(c.Timeouts.TCP), TCPFin: sec(c.Timeouts.TCPFin), UDP: sec(c.Timeouts.UDP)}, nil
	case OpSetSysctl:
		return conf.SetSysctl{Name: c.Name, Value: c.Value}, nil
	case OpZero:
		return nil, nil
	}
	return nil, fmt.Errorf("%q is not an operation: %w", c.Op, conf.ErrInvalid)
}

// ChangeOf is a change of the desired state on the wire. Only what commands can change
// has a form there.
func ChangeOf(c conf.Change) (Change, error) {
	switch c := c.(type) {
	case conf.AddService:
		s := ServiceOf(&c.Service)
		return Change{Op: OpAddService, Service: &s}, nil
	case conf.EditService:
		s := ServiceOf(&c.Service)
		s.Servers, s.Redispatch = nil, nil
		if r := c.Service.Redispatch; r != conf.SameRedispatch {
			s.Redispatch = &r
		}
		return Change{Op: OpEditService, Service: &s}, nil
	case conf.DelService:
		return Change{Op: OpDeleteService, Key: &c.Key}, nil
	case conf.Clear:
		return Change{Op: OpClear}, nil
	case conf.AddServer:
		d := ServerOf(&c.Server)
		return Change{Op: OpAddServer, Key: &c.Key, Server: &d}, nil
	case conf.EditServer:
		d := ServerOf(&c.Server)
		return Change{Op: OpEditServer, Key: &c.Key, Server: &d}, nil
	case conf.DelServer:
		a := netip.AddrPortFrom(c.Server.Addr, c.Server.Port)
		return Change{Op: OpDeleteServer, Key: &c.Key, Address: &a}, nil
	case conf.SetTimeouts:
		sec := func(d time.Duration) int { return int(d / time.Second) }
		return Change{Op: OpSetTimeouts, Timeouts: &Timeouts{sec(c.TCP), sec(c.TCPFin), sec(c.UDP)}}, nil
	case conf.SetSysctl:
		return Change{Op: OpSetSysctl, Name: c.Name, Value: c.Value}, nil
	}
	return Change{}, fmt.Errorf("%v: no command can make this change", c)
}
