package control

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/sched"
)

// ReplayOptions say how to replay a capture.
type ReplayOptions struct {
	Workers int // at least 1; the output does not depend on it
	Seed    uint64
	Emit    func(t time.Time, port int, frame []byte) error // each frame sent, in order; frame is lent
	Explain func(Explained) error                           // each frame received, after it has been processed; nil: not wanted

	// Commands are carried out between the frames, in order, each at its time and before
	// the frames of that time. One that is refused is counted, and the replay goes on.
	Commands  []Command
	Commanded func(Commanded) error // each of them, after it; nil: not wanted
}

// Explained is what became of one frame of the capture.
type Explained struct {
	Number  int
	Time    time.Time
	Port    string
	Note    string // why it was not processed at all; "" if it was
	Verdict dataplane.Verdict
	Reason  dataplane.Reason
	Trace   *dataplane.Trace
	Out     packet.Flow // the packet's ends as it left, if it was sent
}

// ReplaySummary counts what a replay did.
type ReplaySummary struct {
	Frames, Sent, Skipped int
	Commands, Failed      int // carried out, refused ones among them
	Reasons               [dataplane.Reasons]uint64
}

// replay is a director on the virtual clock of a capture.
type replay struct {
	replayClock
	opt      ReplayOptions
	cfg      *conf.Config // a copy: commands change it
	director *Director    // the same in the form that carries out commands
	plane    *dataplane.Plane
	workers  []*dataplane.Worker
	queues   [][]*pcap.Queue // by worker, by port
	links    []dataplane.Link
	first    time.Time
	script   []Command // what is left of it
	current  Explained
	err      error
	sum      ReplaySummary
}

// Replay runs the frames of a capture through the pipeline of cfg on the clock of the
// capture. Which port a frame came by is told by the interface's name in the capture,
// else by its destination MAC. A next hop has the MAC that the file or the capture gives
// it, else one made from its address, so that nothing waits for an answer the capture
// cannot hold. open is called twice, as the capture is read twice. cfg stays as it is.
func Replay(cfg *conf.Config, open func() (*pcap.Reader, io.Closer, error), opt ReplayOptions) (ReplaySummary, error) {
	r := &replay{opt: opt, cfg: cfg.Clone(), script: opt.Commands}
	r.start()
	scan := newScan(cfg)
	if err := each(open, scan.record); err != nil {
		return r.sum, err
	}
	if err := r.build(scan); err != nil {
		return r.sum, err
	}
	defer r.plane.Conns().Close()
	err := each(open, func(rec *pcap.Record) error { return r.frame(rec, scan) })
	if r.first.IsZero() {
		r.first = time.Unix(0, 0) // of a capture without frames
	}
	if err == nil {
		err = r.obey(1<<63 - 1) // what comes after the last frame
	}
	r.director.handOver()
	r.sum.Reasons = r.plane.Reasons()
	return r.sum, err
}

func each(open func() (*pcap.Reader, io.Closer, error), f func(*pcap.Record) error) error {
	in, closer, err := open()
	if err != nil {
		return err
	}
	defer closer.Close()
	for {
		rec, err := in.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if errors.Is(err, io.ErrUnexpectedEOF) { // cut off in the middle of a frame: the frames before it count
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(&rec); err != nil {
			return err
		}
	}
}

// scan is what the first reading of the capture finds out.
type scan struct {
	cfg  *conf.Config
	macs []packet.MAC // of the ports: configured, or the first unicast destination seen
	seen map[packet.Addr]packet.MAC
	told map[packet.Addr]packet.MAC // by the file's neighbours, which nothing overrides
}

func newScan(cfg *conf.Config) *scan {
	s := &scan{cfg: cfg, macs: make([]packet.MAC, len(cfg.Ports)), seen: map[packet.Addr]packet.MAC{}, told: map[packet.Addr]packet.MAC{}}
	for _, n := range cfg.Neighbors {
		s.told[packet.AddrFrom(n.Address)] = packet.MAC(n.MAC)
	}
	for i, p := range cfg.Ports {
		s.macs[i] = p.MAC
	}
	return s
}

// port is the index of the port a frame came by, -1 if the capture does not tell.
func (s *scan) port(rec *pcap.Record) int {
	if i := slices.IndexFunc(s.cfg.Ports, func(p conf.Port) bool { return p.Name == rec.Interface }); i >= 0 {
		return i
	}
	if len(s.cfg.Ports) == 1 {
		return 0
	}
	if rec.L2 && len(rec.Data) >= 12 {
		if i := slices.Index(s.macs, packet.MAC(rec.Data[:6])); i >= 0 {
			return i
		}
		// A broadcast, or another host's frame: the side its sender is known to be on is
		// not told by plain captures.
		return -1
	}
	return slices.IndexFunc(s.cfg.Ports, func(p conf.Port) bool { return p.Driver == conf.TUN })
}

func (s *scan) record(rec *pcap.Record) error {
	i := s.port(rec)
	if !rec.L2 || len(rec.Data) < 14 {
		return nil
	}
	if i >= 0 && s.macs[i] == (packet.MAC{}) && !packet.MAC(rec.Data[:6]).Multicast() {
		s.macs[i] = packet.MAC(rec.Data[:6])
	}
	f := packet.NewFrame(rec.Data)
	switch f.Parse() {
	case packet.None:
		if i >= 0 && s.onLink(i, f.Flow.Src) {
			s.seen[f.Flow.Src] = f.SrcMAC()
		}
	case packet.ARP:
		if h, ok := packet.ParseARP(rec.Data); ok && h.SPA.Netip().IsValid() && !h.SPA.Netip().IsUnspecified() {
			s.seen[h.SPA] = h.SHA
		}
	}
	return nil
}

func (s *scan) onLink(port int, a packet.Addr) bool {
	return slices.ContainsFunc(s.cfg.Ports[port].Addresses, func(p netip.Prefix) bool { return p.Contains(a.Netip()) })
}

// mac is the link address of a next hop.
func (s *scan) mac(a netip.Addr) packet.MAC {
	k := packet.AddrFrom(a)
	if m, ok := s.told[k]; ok {
		return m
	}
	if m, ok := s.seen[k]; ok {
		return m
	}
	if a.Is4() {
		b := a.As4()
		return packet.MAC{2, 0, b[0], b[1], b[2], b[3]}
	}
	h := fnv.New32a()
	h.Write(k[:])
	v := h.Sum32()
	return packet.MAC{2, 6, byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
}

func (r *replay) build(s *scan) error {
	neighbors := arp.New(arp.Config{Announcements: -1})
	var err error
	r.plane, err = dataplane.New(dataplane.Config{
		MaxConnections: r.cfg.Conntrack.MaxConnections, Clock: func() time.Duration { return r.now },
		Seed: [2]uint64{r.opt.Seed + 1, r.opt.Seed + 2}, Random: sched.Seeded(r.opt.Seed), Neighbors: neighbors,
		Resolver: func(a packet.Addr) packet.MAC { return s.mac(a.Netip()) },
	})
	if err != nil {
		return err
	}
	d := &Director{plane: r.plane, cfg: r.cfg}
	r.director = d
	for i, p := range r.cfg.Ports {
		l := dataplane.Link{Name: p.Name, MAC: s.macs[i], MTU: p.MTU, L2: p.Driver != conf.TUN}
		if l.MTU == 0 {
			l.MTU = 1500
		}
		if l.L2 && len(r.cfg.Ports) > 1 && p.MAC == (packet.MAC{}) && s.macs[i] == (packet.MAC{}) {
			return fmt.Errorf("port %s: the capture does not tell which frames came by it: give it its mac, or use a pcapng capture whose interface has its name", p.Name)
		}
		d.links = append(d.links, l)
	}
	r.links = d.links
	for range max(r.opt.Workers, 1) {
		var qs []dataplane.Queue
		var mine []*pcap.Queue
		for i, l := range r.links {
			q := &pcap.Queue{L2: l.L2, Sink: func(b []byte, _ packet.Vnet) { r.emit(i, b) }}
			qs, mine = append(qs, q), append(mine, q)
		}
		w := r.plane.NewWorker(qs)
		r.workers, r.queues = append(r.workers, w), append(r.queues, mine)
	}
	d.workers = r.workers
	r.plane.Watch(&dataplane.Watcher{Told: r.told})
	for _, svc := range r.cfg.Services {
		if err := d.addService(&svc, svc.Servers); err != nil { // nobody is asked: all are up
			return err
		}
	}
	d.configureAll(r.cfg)
	d.publish(r.cfg, r.cfg.Services)
	return nil
}

func (r *replay) emit(port int, b []byte) {
	r.sum.Sent++
	if err := r.opt.Emit(r.at, port, b); err != nil && r.err == nil {
		r.err = err
	}
}

func (r *replay) told(e *dataplane.Event) {
	r.current.Verdict, r.current.Reason, r.current.Trace, r.current.Out = e.Verdict, e.Reason, e.Trace.Clone(), e.Frame.Flow
}

// frame replays one frame at its time.
func (r *replay) frame(rec *pcap.Record, s *scan) error {
	r.sum.Frames++
	if r.first.IsZero() {
		r.first = rec.Time
	}
	if err := r.obey(rec.Time.Sub(r.first)); err != nil {
		return err
	}
	r.current = Explained{Number: rec.Number, Time: rec.Time}
	port := s.port(rec)
	switch {
	case rec.Truncated:
		r.current.Note = "the capture holds only part of it"
	case port < 0:
		r.current.Note = "its destination is none of the ports' MACs"
	case rec.L2 != r.links[port].L2:
		r.current.Note = "its link type is not the port's"
	}
	if r.current.Note != "" {
		r.sum.Skipped++
		return r.explain()
	}
	r.current.Port = r.links[port].Name
	if err := r.goTo(r.zero + rec.Time.Sub(r.first)); err != nil {
		return err
	}
	w := r.spread(rec)
	r.queues[w][port].Put(rec.Data, packet.Vnet{})
	if _, _, err := r.workers[w].Turn(); err != nil {
		return err
	}
	if r.err != nil {
		return r.err
	}
	return r.explain()
}

// spread chooses the worker as the kernel's fanout would: by the flow's own hash.
func (r *replay) spread(rec *pcap.Record) int {
	if len(r.workers) == 1 {
		return 0
	}
	f := packet.NewFrame(rec.Data)
	f.L2 = rec.L2
	if f.Parse() != packet.None {
		return 0
	}
	h := fnv.New32a()
	h.Write(f.Flow.Src[:])
	h.Write(f.Flow.Dst[:])
	h.Write([]byte{byte(f.Flow.SrcPort >> 8), byte(f.Flow.SrcPort), byte(f.Flow.DstPort >> 8), byte(f.Flow.DstPort)})
	return int(h.Sum32() % uint32(len(r.workers)))
}

func (r *replay) explain() error {
	if r.opt.Explain == nil {
		return nil
	}
	return r.opt.Explain(r.current)
}
