package conf

import (
	"fmt"
	"strings"
	"time"
)

// Change is one step from a desired state to another; the types below are all there
// are. Those of services and servers are what ipvsadm's commands say, the others
// replace a whole setting or list.
type Change interface {
	// String says it in words, for logs and for people: `add service tcp/192.0.2.1:80`.
	String() string
	// Restart reports whether a running director can take it only by restarting.
	Restart() bool

	apply(*Editor) (Step, error)
}

// AddService adds a service with its servers: ipvsadm -A, with -a for each server.
type AddService struct{ Service Service }

// EditService replaces the definition of the service of that key (ipvsadm -E) and
// leaves its servers and its health alone, which that command does not know:
// Service.Servers and Service.Health mean nothing here. Without Was, as commands make
// them, an edit that gives no name leaves the name too.
type EditService struct {
	Service Service
	Was     *Service // the definition replaced, for String; nil when it is not at hand
}

// DelService removes a service and its servers: ipvsadm -D.
type DelService struct{ Key ServiceKey }

// Clear removes all services: ipvsadm -C.
type Clear struct{}

// AddServer adds a server as the newest of a service: ipvsadm -a.
type AddServer struct {
	Key    ServiceKey
	Server Server
}

// EditServer replaces a server of the same address and port, in its place (ipvsadm -e),
// and leaves its own checks alone: Server.Checks means nothing here. Without Was, as
// commands make them, an edit that gives no name leaves the name too.
type EditServer struct {
	Key    ServiceKey
	Server Server
	Was    *Server // the definition replaced, for String; nil when it is not at hand
}

// DelServer removes a server: ipvsadm -d.
type DelServer struct {
	Key    ServiceKey
	Server ServerID
}

// SetTimeouts sets the three changeable timeouts, whole seconds; 0 leaves one as it
// is: ipvsadm --set.
type SetTimeouts struct{ TCP, TCPFin, UDP time.Duration }

// SetSysctl sets one net.ipv4.vs setting, as text like that of Sysctl.Get.
type SetSysctl struct{ Name, Value, Was string }

// SetMarks replaces the mark rules, whose order matters.
type SetMarks struct{ Marks, Was []Mark }

// SetRoutes replaces the routes.
type SetRoutes struct{ Routes, Was []Route }

// SetNeighbors replaces the static neighbours.
type SetNeighbors struct{ Neighbors, Was []Neighbor }

// SetDirector replaces what concerns the process. All but announce needs a restart.
type SetDirector struct{ Director, Was Director }

// SetPorts replaces the ports, which needs a restart.
type SetPorts struct{ Ports, Was []Port }

// SetMaxConnections sets the bound on connections, which needs a restart.
type SetMaxConnections struct{ Max, Was int }

func (AddService) Restart() bool        { return false }
func (EditService) Restart() bool       { return false }
func (DelService) Restart() bool        { return false }
func (Clear) Restart() bool             { return false }
func (AddServer) Restart() bool         { return false }
func (EditServer) Restart() bool        { return false }
func (DelServer) Restart() bool         { return false }
func (SetTimeouts) Restart() bool       { return false }
func (SetSysctl) Restart() bool         { return false }
func (SetMarks) Restart() bool          { return false }
func (SetRoutes) Restart() bool         { return false }
func (SetNeighbors) Restart() bool      { return false }
func (SetPorts) Restart() bool          { return true }
func (SetMaxConnections) Restart() bool { return true }

func (c SetDirector) Restart() bool {
	c.Was.Announce = c.Director.Announce // done once, at start
	return c.Director != c.Was
}

func (c AddService) String() string {
	s := "add service " + c.Service.title() + ", " + c.Service.Scheduler
	switch n := len(c.Service.Servers); n {
	case 0:
		return s + ", no server"
	case 1:
		return s + ", 1 server"
	default:
		return fmt.Sprintf("%s, %d servers", s, n)
	}
}

func (c EditService) String() string {
	s := "edit service " + c.Service.title()
	if c.Was != nil {
		s += ": " + edits(c.Was.pairs(), c.Service.pairs())
	}
	return s
}

func (c DelService) String() string { return "delete service " + c.Key.String() }
func (c Clear) String() string      { return "delete all services" }

func (c AddServer) String() string {
	return fmt.Sprintf("add server %v to %v, %v, weight %d", &c.Server, c.Key, c.Server.Forward, c.Server.Weight)
}

func (c EditServer) String() string {
	s := fmt.Sprintf("edit server %v of %v", &c.Server, c.Key)
	if c.Was != nil {
		s += ": " + edits(c.Was.pairs(c.Key, noMethod), c.Server.pairs(c.Key, noMethod))
	}
	return s
}

func (c DelServer) String() string {
	return fmt.Sprintf("delete server %v of %v", c.Server, c.Key)
}

func (c SetTimeouts) String() string {
	var said []string
	for _, t := range []struct {
		name  string
		value time.Duration
	}{{"tcp", c.TCP}, {"tcpfin", c.TCPFin}, {"udp", c.UDP}} {
		if t.value != 0 {
			said = append(said, t.name+" "+durationText(t.value))
		}
	}
	return "set timeouts " + strings.Join(said, ", ")
}

func (c SetSysctl) String() string {
	return fmt.Sprintf("set sysctl %s %s -> %s", c.Name, c.Was, c.Value)
}

func (c SetMarks) String() string {
	return fmt.Sprintf("replace the mark rules: %d, were %d", len(c.Marks), len(c.Was))
}

func (c SetRoutes) String() string {
	return "set routes: " + listEdits(c.Was, c.Routes, (*Route).id, (*Route).pairs)
}

func (c SetNeighbors) String() string {
	return "set neighbours: " + listEdits(c.Was, c.Neighbors, (*Neighbor).id, (*Neighbor).pairs)
}

func (c SetDirector) String() string {
	return restartNote(c, "set director: "+edits(c.Was.pairs(), c.Director.pairs()))
}

func (c SetPorts) String() string {
	return restartNote(c, "set ports: "+listEdits(c.Was, c.Ports, (*Port).id, (*Port).pairs))
}

func (c SetMaxConnections) String() string {
	return restartNote(c, fmt.Sprintf("set max_connections %d -> %d", c.Was, c.Max))
}

func restartNote(c Change, text string) string {
	if c.Restart() {
		return text + " (needs a restart)"
	}
	return text
}

func (s *Service) title() string {
	if s.Name == "" {
		return s.Key.String()
	}
	return s.Key.String() + " " + quote(s.Name)
}

func (p *Port) id() string     { return p.Name }
func (r *Route) id() string    { return r.Dest.String() }
func (n *Neighbor) id() string { return n.Address.String() + " on " + n.Port }

// edits says which keys have another value: `weight 1 -> 3, upper 0 -> 100`. Both are
// pairs of one kind of thing, so they have the same keys.
func edits(was, is pairs) string {
	var said []string
	old := make(map[string]pair, len(was))
	for _, p := range was {
		old[p.key] = p
	}
	for _, p := range is {
		if o := old[p.key]; o.value != p.value {
			said = append(said, fmt.Sprintf("%s %s -> %s", p.key, plain(o), plain(p)))
		}
	}
	return strings.Join(said, ", ")
}

// plain is a value without quotes; an empty one is "none".
func plain(p pair) string {
	switch v := strings.Trim(p.shown(), `"`); {
	case v == "" || v == "[]" || p.key == "persistence" && p.def || p.def && v == "{}":
		return "none"
	default:
		return v
	}
}

// listEdits says which elements of a list came, went or changed.
func listEdits[T any](was, is []T, id func(*T) string, pairs func(*T) pairs) string {
	var said []string
	old := make(map[string]*T, len(was))
	for i := range was {
		old[id(&was[i])] = &was[i]
	}
	for i := range is {
		name := id(&is[i])
		if o := old[name]; o == nil {
			said = append(said, "add "+name)
		} else if change := edits(pairs(o), pairs(&is[i])); change != "" {
			said = append(said, "edit "+name+" ("+change+")")
		}
		delete(old, name)
	}
	for i := range was {
		if name := id(&was[i]); old[name] != nil {
			said = append(said, "delete "+name)
		}
	}
	return strings.Join(said, ", ")
}
