package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/host"
	"github.com/dirigo-lb/dirigo/control/via"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/afpacket"
	"github.com/dirigo-lb/dirigo/dataplane/tun"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/health/probe"
)

// Options of a director that are no part of its desired state.
type Options struct {
	Path    string // configuration file, read again by Reload
	Control string // control socket, if it is not the file's
	Version string
	Log     *slog.Logger
}

// Director is a running director.
type Director struct {
	opt     Options
	log     *slog.Logger
	started time.Time
	plane   *dataplane.Plane
	workers []*dataplane.Worker
	queues  [][]dataplane.Queue // by worker, by port
	links   []dataplane.Link
	slots   []int       // by port: of its smallest receive ring, 0 without rings
	cpus    []int       // by worker, if they are pinned
	guard   *host.Guard // nil: no port is guarded
	guarded []string
	local   *host.Local // nil: no port leads to the host
	via     *via.Via
	sockets *probe.Sockets // of health checks; nil: none are used again
	socket  net.Listener
	lock    net.Listener // says that a director of this name runs here
	faults  faults
	outside outside
	streams streams
	drains  drains
	own     string // the TUN the director made for itself; "" for none
	health  watch

	mu        sync.Mutex   // guards what follows: there is one writer at a time
	state     *conf.Editor // the desired state, in the file's words
	file      *conf.Config // the file as last loaded or saved
	cfg       *conf.Config // the settings in force: see inForce
	view      host.View
	env       dataplane.Environment // as last published
	vips      map[netip.Addr]int    // how many services have an address
	locals    map[host.Server]int   // how many services have a server on the host
	linger    map[host.Piece]bool   // of removed servers, which guard and policy rules still count
	asksVia   bool                  // a server is asked by its service: see followVia
	reloadErr error
	reloaded  time.Time
	closed    bool
}

// New opens the ports of cfg and installs what the host needs; nothing passes before
// Run. After an error nothing of it is left.
func New(cfg *conf.Config, opt Options) (d *Director, err error) {
	d = &Director{opt: opt, log: opt.Log, started: time.Now(), state: conf.NewEditor(cfg), file: cfg.Clone(), linger: map[host.Piece]bool{}}
	mine := *d.state.Settings()
	if opt.Control != "" {
		mine.Director.Control = opt.Control
	}
	cfg, d.cfg = &mine, &mine
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if len(cfg.Ports) == 0 {
		return d, fmt.Errorf("%s: no [[port]]: there is nothing to receive from", opt.Path)
	}
	// First, for it is what only one director can have: another one's guard and policy
	// rules are not touched. Requests wait until Run serves them.
	if d.socket, err = listenGroup(cfg.Director.Control, cfg.Director.ControlGroup); err != nil {
		return d, err
	}
	if d.lock, err = lockName(cfg.Director.Name); err != nil {
		return d, err
	}
	if err = d.outside.open(cfg); err != nil {
		return d, err
	}
	workers := cfg.Director.Workers
	if workers == 0 {
		workers = runtime.NumCPU()
	}
	d.plane, err = dataplane.New(dataplane.Config{
		MaxConnections: cfg.Conntrack.MaxConnections,
		Clock:          func() time.Duration { return time.Since(d.started) + time.Hour }, // never near zero
		Available:      availablePages,
		ICMPRate:       1000, // the kernel's icmp_msgs_per_sec
		Neighbors:      arp.New(arp.Config{Announcements: announcements(cfg.Director.Announce)}),
	})
	if err != nil {
		return d, err
	}
	d.ownPort(cfg)
	if err = d.openPorts(workers); err != nil {
		return d, err
	}
	if d.view, err = host.Read(d.portNames(conf.AFPacket)); err != nil {
		return d, fmt.Errorf("read the host's routes: %w", err)
	}
	d.configureAll(cfg)
	if d.sockets, err = probe.NewSockets(); err != nil {
		return d, err
	}
	d.newWatch(health.Config{Prober: d.newProber})
	d.judgeAll()
	services := d.state.Snapshot().Services
	for i := range services {
		if err = d.addService(&services[i], d.serversInForce(&services[i])); err != nil {
			return d, err
		}
	}
	if err = d.installHost(cfg); err != nil {
		return d, err
	}
	d.via = via.New(d.plane, d.hostPort(cfg))
	d.publish(cfg, services)
	d.followVia(services, nil)
	return d, nil
}

// announcements turns the file's number into the neighbour cache's, for which 0 means
// its default.
func announcements(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

func (d *Director) openPorts(workers int) error {
	d.queues = make([][]dataplane.Queue, workers)
	if d.cfg.Director.Pin {
		cpus, err := pinCPUs(workers)
		if err != nil {
			return err
		}
		d.cpus = cpus
	}
	var paces []dataplane.Pace
	for _, p := range slices.Clone(d.cfg.Ports) {
		drv, qs, err := openPort(&p, workers, d.cpus)
		if err != nil && p.Name == d.own {
			d.disown(d.cfg, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("port %s: %w", p.Name, err)
		}
		for i, q := range qs {
			d.queues[i] = append(d.queues[i], q)
		}
		link := drv.Link()
		if p.MAC != ([6]byte{}) {
			link.MAC = p.MAC
		}
		if p.MTU != 0 {
			link.MTU = p.MTU
		}
		d.links = append(d.links, link)
		d.slots = append(d.slots, d.ringSlots(&p, qs))
		if p.Name != d.own { // of which the file says nothing
			paces = append(paces, paceOf(&p))
		}
	}
	for _, qs := range d.queues {
		d.workers = append(d.workers, d.plane.NewWorker(qs, paces...))
	}
	return nil
}

func openPort(p *conf.Port, workers int, cpus []int) (drv dataplane.Driver, qs []dataplane.Queue, err error) {
	switch p.Driver {
	case conf.AFPacket:
		drv, err = afpacket.New(afpacket.Config{Interface: p.Name, Mode: driverModes[p.Mode], RingSlots: p.RingSlots, CPUs: cpus})
	case conf.TUN:
		drv, err = tun.New(tun.Config{Name: p.Name, MTU: p.MTU, Addresses: p.Addresses})
	default:
		err = errors.New("driver pcap is for replay")
	}
	if err == nil {
		qs, err = drv.Open(workers)
	}
	return drv, qs, err
}

// ringSlots is how many slots the smallest of a port's rings has, 0 for queues without
// rings. It says of each ring that is smaller than the file asks: it overflows earlier.
func (d *Director) ringSlots(p *conf.Port, qs []dataplane.Queue) (least int) {
	for i, q := range qs {
		ring, ok := q.(interface{ Slots() int })
		if !ok {
			return 0
		}
		n := ring.Slots()
		if n < p.RingSlots {
			d.log.Warn("not enough memory for ring_slots", "port", p.Name, "worker", i, "slots", n, "of", p.RingSlots)
		}
		if i == 0 || n < least {
			least = n
		}
	}
	return least
}

func (d *Director) portNames(drivers ...conf.Driver) (names []string) {
	for _, p := range d.cfg.Ports {
		if slices.Contains(drivers, p.Driver) {
			names = append(names, p.Name)
		}
	}
	return names
}

// installHost puts the guard up and the policy rules in place.
func (d *Director) installHost(cfg *conf.Config) error {
	for _, p := range cfg.Ports {
		if p.Guard == conf.GuardOn && p.Driver == conf.AFPacket {
			d.guarded = append(d.guarded, p.Name)
		}
	}
	if len(d.guarded) > 0 {
		d.guard = host.NewGuard(cfg.Director.Name)
		if err := d.guard.Install(d.guarded, d.guardRules()); err != nil {
			return fmt.Errorf("guard: %w", err)
		}
	}
	if name := d.hostPort(cfg); name != "" {
		d.local = host.NewLocal(cfg.Director.Name, name)
		d.recountLocal()
		if err := d.local.Install(d.localServers()); err != nil {
			return err
		}
	}
	return nil
}

// hostPort is the name of the port that leads to the host: the one the file names, or,
// where there are TUN ports only, the first of them.
func (d *Director) hostPort(cfg *conf.Config) string {
	if tuns := d.portNames(conf.TUN); cfg.Director.HostPort == "" && len(tuns) == len(cfg.Ports) {
		return tuns[0]
	}
	return cfg.Director.HostPort
}

// ownProcs is what the runtime gave the process, by its processors, its control group's limit or
// the environment.
var ownProcs = sync.OnceValue(func() int { return runtime.GOMAXPROCS(0) })

// Run serves until ctx ends, then takes everything down. Whatever comes by reload makes
// it read its file again.
func (d *Director) Run(ctx context.Context, reload <-chan os.Signal) error {
	g, ctx := errgroup.WithContext(ctx)
	// A worker keeps its P while it waits for frames: all others are to have as many as if
	// there were no workers.
	runtime.GOMAXPROCS(len(d.workers) + ownProcs())
	for i, w := range d.workers {
		g.Go(func() error { return d.work(ctx, i, w) })
	}
	g.Go(func() error { d.takeMemory(ctx); return nil })
	g.Go(func() error { return d.serve(ctx, d.socket) })
	d.serveOutside(ctx, g)
	g.Go(func() error { return d.housekeep(ctx, reload) })
	g.Go(func() error { return d.health.monitor.Run(ctx) })
	g.Go(func() error { return d.health.notifier.Run(ctx) })
	if d.cfg.Director.FollowRoutes {
		g.Go(func() error { return d.follow(ctx) })
	}
	d.log.Info("director runs", "workers", len(d.workers), "ports", len(d.links), "services", d.state.Len(), "control", d.cfg.Director.Control)
	err := g.Wait()
	d.log.Info("director stops")
	return errors.Join(err, d.Close())
}

// follow takes the host's routes over as they change. A host that cannot be read for a
// moment (a dump interrupted again and again) is asked again; the last view stays.
func (d *Director) follow(ctx context.Context) error {
	for {
		err := host.Follow(ctx, d.portNames(conf.AFPacket), d.routesChanged)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		d.log.Error("routes are not followed", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// guardLost reports whether someone flushed the guard's table, as reloading a firewall does.
func (d *Director) guardLost() bool {
	_, err := d.guard.Stats()
	return errors.Is(err, host.ErrGone)
}

// lockName holds the director's name while it runs, by an abstract socket, which every
// network namespace has for itself as it has its own guard: two directors of one name
// would take each other's guard away.
func lockName(name string) (net.Listener, error) {
	l, err := net.Listen("unix", "@dirigo/"+name)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another director named %q runs here: give one of them another name in [director]", name)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the name %q: %w", name, err)
	}
	return l, nil
}

// faults remembers when each port's trouble was last told, so that a port that is down
// fills no log.
type faults struct {
	mu   sync.Mutex
	told map[int]time.Time
}

// faultPause is how long a port's trouble is not told again.
const faultPause = 10 * time.Second

// portFailed is told of a queue's error. A link that is down comes up again, and the
// worker goes on with its other ports meanwhile.
func (d *Director) portFailed(port int, err error) error {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	if time.Since(d.faults.told[port]) < faultPause {
		return nil
	}
	if d.faults.told == nil {
		d.faults.told = map[int]time.Time{}
	}
	d.faults.told[port] = time.Now()
	if errors.Is(err, syscall.ENETDOWN) {
		d.log.Warn("link is down", "port", d.links[port].Name)
		return nil
	}
	d.log.Error("port failed", "port", d.links[port].Name, "err", err)
	return nil
}

// housekeep does the writer's periodic work.
func (d *Director) housekeep(ctx context.Context, reload <-chan os.Signal) error {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	estimate := time.NewTicker(dataplane.EstimatePeriod)
	defer estimate.Stop()
	signs := time.NewTicker(signsPeriod)
	defer signs.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-reload:
			_, _ = d.Reload(false) // it has logged what came of it
		case <-estimate.C:
			d.plane.Estimate()
		case <-signs.C:
			d.tellSigns()
		case <-second.C:
			d.plane.Housekeep()
			d.mu.Lock()
			d.keepHealth()
			switch {
			case d.guard != nil && d.guardLost():
				d.updateHost()
			case d.guard != nil || d.local != nil:
				d.settleLingering()
			}
			d.mu.Unlock()
		}
	}
}

// Close takes down what New and Run put up. It is safe to call twice.
func (d *Director) Close() (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, qs := range d.queues {
		for _, q := range qs {
			err = errors.Join(err, q.Close())
		}
	}
	d.queues = nil
	err = errors.Join(err, d.outside.close(), d.sockets.Close())
	if d.local != nil {
		err = errors.Join(err, d.local.Remove())
		d.local = nil
	}
	if d.guard != nil {
		err = errors.Join(err, d.guard.Remove())
		d.guard = nil
	}
	if d.plane != nil {
		d.plane.Conns().Close()
		d.plane = nil
	}
	if d.socket != nil { // its file goes with it
		if e := d.socket.Close(); !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
		d.socket = nil
	}
	if d.lock != nil { // last of all: until now a successor would have lost its guard to us
		err = errors.Join(err, d.lock.Close())
		d.lock = nil
	}
	return err
}

// availablePages is the host's free and buffer memory in pages of 4 KiB, as the
// kernel's defences judge it (si_meminfo in update_defense_level).
func availablePages() int {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 1 << 30
	}
	return int((si.Freeram + si.Bufferram) * uint64(si.Unit) / 4096)
}
