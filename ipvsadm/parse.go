package ipvsadm

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// Defaults of ipvsadm 1.31.
const (
	defaultScheduler   = "wlc"
	defaultPersistence = 360 // seconds; the manual page says 300
	defaultInterface   = "eth0"
)

// Env is what a command line means apart from its words. The zero Env is usable.
type Env struct {
	Program   string   // argv[0], for the hint; "" is "ipvsadm"
	Names     Resolver // of what is typed; nil: numbers only
	Namer     Namer    // of what Run lists; nil: numbers only
	Restoring bool     // the line was read by -R, so another -R is refused
}

func (e Env) program() string {
	if e.Program == "" {
		return "ipvsadm"
	}
	return e.Program
}

// Parse reads a command line without the program's name. An error is always an
// *Error; the command is nil then.
func Parse(argv []string, env Env) (*Command, error) {
	p := parser{
		env:    env,
		words:  words{argv: argv},
		server: conf.Server{Weight: 1, Forward: conf.DR},
	}
	if err := p.parse(); err != nil {
		return nil, err
	}
	cmd := p.cmd // kept alone: the parser is several times as large
	return &cmd, nil
}

// parser collects what the options say, each where it stands: some look at what
// came before them.
type parser struct {
	env   Env
	words words
	cmd   Command
	given optionSet

	v6         bool  // family of the service, once named
	proto      uint8 // for service names; TCP for a fwmark service
	mask       netip.Addr
	prefix     int
	schedFlags string
	service    conf.Service // without key, mask and flags
	server     conf.Server
}

func (p *parser) parse() *Error {
	if len(p.words.argv) == 0 {
		return nil // the zero Command lists everything
	}
	if err := p.command(); err != nil {
		return err
	}
	if p.cmd.Op == OpHelp || p.cmd.Op == OpVersion {
		return nil // the rest of the line is not looked at
	}
	if err := p.options(); err != nil {
		return err
	}
	if err := p.plainWords(); err != nil {
		return err
	}
	if p.given.has(optSchedFlags) {
		if err := p.parseSchedFlags(); err != nil {
			return err
		}
	}
	if err := checkCommand(p.cmd.Op, p.given); err != nil {
		return err
	}
	return p.finish()
}

// command reads the first option, which must be a command.
func (p *parser) command() *Error {
	it, ok, wrong := p.words.next()
	if !ok || wrong != "" || it.opt != optNone {
		return hint(p.env.program())
	}
	p.cmd.Op = it.op
	if it.op != OpStartDaemon && it.op != OpStopDaemon {
		return nil
	}
	switch it.value {
	case "master":
		p.cmd.Daemon.Role = Master
	case "backup":
		p.cmd.Daemon.Role = Backup
	default:
		if it.op == OpStartDaemon {
			return bad("illegal start-daemon parameter specified")
		}
		return bad("illegal start_daemon specified") // so it is in ipvsadm
	}
	return nil
}

func (p *parser) options() *Error {
	for {
		it, ok, wrong := p.words.next()
		if wrong != "" {
			return &Error{Text: p.words.last() + ": " + wrong, ExitCode: ExitRefused}
		}
		if !ok {
			return nil
		}
		if it.opt == optNone {
			return bad("invalid option `%s'", p.words.last())
		}
		if it.opt < numOptions {
			if p.given.has(it.opt) {
				return bad("multiple '%v' options specified", it.opt)
			}
			p.given |= set(it.opt)
		}
		if err := p.option(it); err != nil {
			return err
		}
	}
}

// plainWords looks at the words that are no options: --set takes three, and none
// may be left over.
func (p *parser) plainWords() *Error {
	plain := p.words.plain
	if p.cmd.Op == OpSet {
		if len(plain) < 3 {
			return bad("--set option requires 3 timeout values")
		}
		t := &p.cmd.Timeouts
		for i, to := range []*int{&t.TCP, &t.TCPFin, &t.UDP} {
			var err *Error
			if *to, err = timeout(plain[i], 0); err != nil {
				return err
			}
		}
		plain = plain[3:]
	}
	if len(plain) > 0 {
		return bad("unexpected argument %s", plain[0])
	}
	return nil
}

// finish puts the command together and checks what only the whole line shows.
func (p *parser) finish() *Error {
	cmd := &p.cmd
	cmd.HasKey = p.given.has(optService)
	switch cmd.Op {
	case OpAddService, OpEditService:
		return p.finishService()
	case OpAddServer, OpEditServer:
		return p.finishServer()
	case OpDeleteServer:
		cmd.Server = conf.Server{Addr: p.server.Addr, Port: p.server.Port}
	case OpList:
		return checkList(p.given)
	case OpStartDaemon:
		if cmd.Daemon.Interface == "" {
			cmd.Daemon.Interface = defaultInterface
		}
	case OpRestore:
		if p.env.Restoring {
			return hint(p.env.program())
		}
	}
	return nil
}

func (p *parser) finishService() *Error {
	s, key := &p.service, p.cmd.Key
	if key.Fwmark == 0 {
		if key.Port == 0 && s.Persistence.Timeout == 0 {
			return bad("Zero port specified for non-persistent service")
		}
		if s.OnePacket && key.Proto != packet.UDP {
			return bad("One-Packet Scheduling is only for UDP virtual services")
		}
	}
	if s.Scheduler == "" {
		s.Scheduler = defaultScheduler
	}
	if s.Persistence.Timeout != 0 { // -M without -p means nothing
		if p.v6 {
			s.Persistence.Prefix = p.prefix
		} else {
			s.Persistence.Netmask = p.mask
		}
	}
	s.Key = key
	p.cmd.Service = *s
	return nil
}

func (p *parser) finishServer() *Error {
	s, key := &p.server, p.cmd.Key
	if key.Fwmark == 0 && (s.Forward == conf.Tunnel || s.Forward == conf.DR) {
		s.Port = key.Port
	}
	if s.Addr.Is6() != p.v6 && s.Forward != conf.Tunnel {
		return bad("Different address family is allowed only for tunneling servers")
	}
	if p.given&tunnelOptions != 0 && s.Forward != conf.Tunnel {
		return bad("Tunnel options conflict with forward method")
	}
	if err := checkTunnel(s.TunType, p.given); err != nil {
		return err
	}
	p.cmd.Server = *s
	return nil
}

// parseSchedFlags reads the argument of -b, once the scheduler is known.
func (p *parser) parseSchedFlags() *Error {
	scheduler := p.service.Scheduler
	if scheduler == "" {
		scheduler = defaultScheduler
	}
	for _, word := range strings.Split(p.schedFlags, ",") {
		if word == "" {
			continue
		}
		f, known := findSchedFlag(word)
		switch {
		case !known:
			return bad("invalid scheduler flag `%s'", word)
		case f.scheduler != "" && f.scheduler != scheduler:
			return bad("incompatible scheduler flag `%s'", word)
		}
		p.service.SchedFlags |= f.bit
	}
	return nil
}

// seconds is n seconds; n is at most maxTimeout.
func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// maxThreshold is the largest -w, -x and -y: INT_MAX.
const maxThreshold = math.MaxInt32
