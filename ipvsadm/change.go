package ipvsadm

import (
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// Change is what the command changes; ok is false for one that changes no setting.
func (cmd *Command) Change() (c conf.Change, ok bool) {
	sec := func(n int) time.Duration { return time.Duration(n) * time.Second }
	switch cmd.Op {
	case OpAddService:
		return conf.AddService{Service: cmd.Service}, true
	case OpEditService:
		s := cmd.Service
		s.Redispatch = conf.SameRedispatch
		return conf.EditService{Service: s}, true
	case OpDeleteService:
		return conf.DelService{Key: cmd.Key}, true
	case OpFlush:
		return conf.Clear{}, true
	case OpAddServer:
		return conf.AddServer{Key: cmd.Key, Server: cmd.Server}, true
	case OpEditServer:
		return conf.EditServer{Key: cmd.Key, Server: cmd.Server}, true
	case OpDeleteServer:
		return conf.DelServer{Key: cmd.Key, Server: cmd.Server.ID()}, true
	case OpSet:
		return conf.SetTimeouts{TCP: sec(cmd.Timeouts.TCP), TCPFin: sec(cmd.Timeouts.TCPFin), UDP: sec(cmd.Timeouts.UDP)}, true
	}
	return nil, false
}
