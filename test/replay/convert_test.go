package replay

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/test/recording"
)

// The recordings' machine: clients and a gateway on cl0, real servers on sv0; host is the
// way to its own stack.
var ports = []string{"cl0", "sv0", "host"}

// began is the instant of the first step in the captures made here.
var began = time.Unix(1_700_000_000, 0).UTC()

// input is a recording as dirigo replay takes it.
type input struct {
	config, capture, script string
	frames                  []int       // steps injected, in the capture's order; -1: an answer of the host
	lines                   map[int]int // steps by the script's line
}

// configure makes the configuration that the machine had before the first step. leading
// are rules that a file cannot have, for the script.
func configure(r *recording.Recording) (cfg *conf.Config, leading []string, err error) {
	cfg, err = control.ImportRules(r.Name, strings.NewReader(strings.Join(r.Rules, "\n")))
	if err != nil { // of a kernel's table that the file's rules do not allow
		cfg, leading = conf.Default(), r.Rules
	}
	cfg.Conntrack.MaxConnections = 100_000
	cfg.Director.HostPort = "host"
	for i, name := range ports[:2] {
		side := byte(i + 1)
		p := conf.Port{Name: name, MAC: [6]byte{2, 0, 0, 0, side, 1}, MTU: r.MTU[name], RingSlots: conf.DefaultRingSlots, Addresses: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.0.%d.1/24", side)), netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::1/64", side))}}
		cfg.Ports = append(cfg.Ports, p)
		for _, a := range p.Addresses {
			cfg.Routes = append(cfg.Routes, conf.Route{Dest: netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), Kind: conf.LocalRoute})
		}
		for n := 2; n <= 254; n++ {
			mac := [6]byte{2, 0, 0, 0, side, byte(n)}
			cfg.Neighbors = append(cfg.Neighbors, conf.Neighbor{Address: netip.AddrFrom4([4]byte{10, 0, side, byte(n)}), MAC: mac, Port: name})
			if strings.Contains(strings.Join(r.Rules, ""), "[") { // fewer lines to read where there is no IPv6
				cfg.Neighbors = append(cfg.Neighbors, conf.Neighbor{Address: netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::%x", side, n)), MAC: mac, Port: name})
			}
		}
	}
	cfg.Ports = append(cfg.Ports, conf.Port{Name: "host", Driver: conf.TUN, MTU: 65535, RingSlots: conf.DefaultRingSlots})
	for _, l := range append(append([]string(nil), r.VIPs...), r.Local...) {
		p, err := prefixOf(l)
		if err != nil {
			return nil, nil, err
		}
		cfg.Routes = append(cfg.Routes, conf.Route{Dest: p, Kind: conf.LocalRoute})
	}
	cfg.Routes = append(cfg.Routes,
		conf.Route{Dest: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.1.254")},
		conf.Route{Dest: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("2001:db8:1::fe")})
	for _, s := range r.Steps {
		if w := strings.Fields(s.Cmd); len(w) == 5 && strings.Join(w[:3], " ") == "ip route add" {
			cfg.Routes = append(cfg.Routes, conf.Route{Dest: netip.MustParsePrefix(w[4]), Kind: conf.Unreachable})
		}
	}
	for name, v := range r.Sysctls {
		short := strings.TrimPrefix(name, "net.ipv4.vs.")
		if conf.NoEffect(short) != "" {
			continue // a file may not name it
		}
		if err := cfg.Sysctl.Set(short, fmt.Sprint(v)); err != nil {
			return nil, nil, err
		}
	}
	for _, line := range r.IPTables {
		m, err := recording.ParseMark(line)
		if err != nil {
			return nil, nil, err
		}
		cfg.Marks = append(cfg.Marks, m)
	}
	return cfg, leading, nil
}

func prefixOf(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen()), err
}

// convert writes a recording's three files into dir. answers are the host's own packets, by
// the step that they follow.
func convert(r *recording.Recording, dir string, answers map[int][][]byte) (in input, err error) {
	in = input{config: filepath.Join(dir, "dirigo.toml"), capture: filepath.Join(dir, "in.pcapng"), script: filepath.Join(dir, "script"), lines: map[int]int{}}
	cfg, leading, err := configure(r)
	if err != nil {
		return in, err
	}
	if err := os.WriteFile(in.config, cfg.TOML(), 0o644); err != nil {
		return in, err
	}
	var capture bytes.Buffer
	w, err := pcap.NewWriter(&capture, true, ports, []bool{true, true, false})
	if err != nil {
		return in, err
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.Op != "inject" {
			continue
		}
		b, err := hex.DecodeString(s.In)
		if err != nil {
			return in, err
		}
		port := 0
		if s.If == ports[1] {
			port = 1
		}
		if err := w.Write(began.Add(at(s, i)), port, b); err != nil {
			return in, err
		}
		in.frames = append(in.frames, i)
		for _, b := range answers[i] {
			if err := w.Write(began.Add(at(s, i)), 2, b); err != nil {
				return in, err
			}
			in.frames = append(in.frames, -1)
		}
	}
	if err := w.Close(); err != nil {
		return in, err
	}
	if err := os.WriteFile(in.capture, capture.Bytes(), 0o644); err != nil {
		return in, err
	}
	return in, os.WriteFile(in.script, script(r, &in, leading), 0o644)
}

// script is the commands of a recording, relative to its first frame.
func script(r *recording.Recording, in *input, leading []string) []byte {
	var first time.Duration
	if len(in.frames) > 0 {
		first = at(&r.Steps[in.frames[0]], in.frames[0])
	}
	var b bytes.Buffer
	line := 0
	add := func(at time.Duration, command string) {
		line++
		at -= first
		sign := ""
		if at < 0 {
			sign, at = "-", -at
		}
		fmt.Fprintf(&b, "%s%d.%09d %s\n", sign, at/time.Second, at%time.Second, command)
	}
	add(0, "sysctl net.ipv4.vs.pmtu_disc") // so that the clock begins with the first step
	for _, rule := range leading {
		add(0, "ipvsadm "+rule)
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		words := strings.Fields(s.Cmd)
		switch {
		case s.Op != "cmd" && s.Op != "dump":
		case words[0] == "sysctl" && !strings.Contains(s.Cmd, "|"):
			for one := range strings.SplitSeq(s.Cmd, ";") {
				add(at(s, i), strings.TrimSpace(strings.TrimSuffix(one, "2>&1")))
			}
			in.lines[line] = i
		case words[0] == "ipvsadm" && !strings.ContainsAny(s.Cmd, "|<>;"):
			add(at(s, i), s.Cmd)
			in.lines[line] = i
		}
	}
	return b.Bytes()
}
