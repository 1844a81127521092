package api

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"syscall"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/ipvsadm"
)

// Backend is a director behind its socket as ipvsadm sees it.
type Backend struct {
	Context context.Context
	Client  *Client
}

var _ ipvsadm.Backend = (*Backend)(nil)

// Change is of ipvsadm.Backend. All commands go in one request, while they are read.
func (b *Backend) Change(commands iter.Seq[*ipvsadm.Command]) (errs []error, err error) {
	var at []int // of each change in errs
	out, err := b.Client.Changes(false, func(yield func(*Change) bool) {
		for cmd := range commands {
			c, err := changeOf(cmd)
			if errs = append(errs, err); err != nil {
				continue
			}
			if at = append(at, len(errs)-1); !yield(&c) {
				return
			}
		}
	})
	if err != nil {
		return nil, unreachable(err)
	}
	for i := range out.Refused {
		if r := &out.Refused[i]; r.Index >= 0 && r.Index < len(at) {
			errs[at[r.Index]] = r.Err()
		}
	}
	return errs, nil
}

// unreachable is an error of the way to the director, not of what was asked.
func unreachable(err error) error { return ipvsadm.Unreachable(err.Error()) }

// lost is the error of a list: nobody is there to give one, or one has broken off.
func lost(err error, begun bool) error {
	if !begun {
		return unreachable(err)
	}
	return &ipvsadm.Error{Text: "the list broke off: " + err.Error(), ExitCode: ipvsadm.ExitList, Ends: true}
}

// changeOf is a command on the wire.
func changeOf(cmd *ipvsadm.Command) (Change, error) {
	if c, ok := cmd.Change(); ok {
		return ChangeOf(c)
	}
	switch cmd.Op {
	case ipvsadm.OpZero:
		if cmd.HasKey {
			return Change{Op: OpZero, Key: &cmd.Key}, nil
		}
		return Change{Op: OpZero}, nil
	case ipvsadm.OpStopDaemon:
		return Change{}, syscall.ESRCH // none runs
	default:
		return Change{}, &ipvsadm.Error{ExitCode: ipvsadm.ExitRefused,
			Text: fmt.Sprintf("%v is not possible here: connections are not synchronized in this version", cmd.Op)}
	}
}

// Services is of ipvsadm.Backend.
func (b *Backend) Services(only *conf.ServiceKey) iter.Seq2[ipvsadm.ServiceEntry, error] {
	path := "/v1/services"
	if only != nil {
		path += "?service=" + url.QueryEscape(only.String())
	}
	return func(yield func(ipvsadm.ServiceEntry, error) bool) {
		begun := false
		for s, err := range Lines[ServiceStatus](b.Context, b.Client, path) {
			var e ipvsadm.ServiceEntry
			switch refused := (*RefusedError)(nil); {
			case errors.As(err, &refused) && only != nil && refused.Status == 404:
				err = conf.ErrNoService
			case err != nil:
				err = lost(err, begun)
			default:
				if e, err = s.entry(); err != nil {
					err = unreachable(err)
				}
			}
			begun = true
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// entry is the service as ipvsadm lists it, the newest server first.
func (s *ServiceStatus) entry() (e ipvsadm.ServiceEntry, err error) {
	e.Stats, e.Rates = s.Counts.figures(), s.Rates.figures()
	if e.Service, err = s.Service.Conf(); err != nil {
		return e, err
	}
	for i := len(s.Servers) - 1; i >= 0; i-- {
		d := &s.Servers[i]
		server, err := d.Server.Conf()
		if err != nil {
			return e, err
		}
		e.Servers = append(e.Servers, ipvsadm.ServerEntry{Server: server, ActiveConn: uint32(d.Active), InActConn: uint32(d.Inactive),
			PersistConn: uint32(d.Persistent), Stats: d.Counts.figures(), Rates: d.Rates.figures()})
	}
	return e, nil
}

// Conns is of ipvsadm.Backend.
func (b *Backend) Conns() iter.Seq2[ipvsadm.ConnEntry, error] {
	return func(yield func(ipvsadm.ConnEntry, error) bool) {
		begun := false
		for c, err := range Lines[Connection](b.Context, b.Client, "/v1/connections") {
			if err != nil {
				yield(ipvsadm.ConnEntry{}, lost(err, begun))
				return
			}
			begun = true
			e := ipvsadm.ConnEntry{Proto: c.Proto, Expire: time.Duration(c.Expires * float64(time.Second)), State: c.State,
				Client: c.Client, Virtual: c.Virtual, Dest: c.Server, PEName: c.Engine, PEData: c.EngineData}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Info is of ipvsadm.Backend.
func (b *Backend) Info() (ipvsadm.Info, error) {
	var i Info
	if err := b.Client.Get("/v1/info", &i); err != nil {
		return ipvsadm.Info{}, unreachable(err)
	}
	return ipvsadm.Info{TableSize: i.TableRows, Timeouts: ipvsadm.Timeouts(i.Timeouts)}, nil
}
