package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
)

func replayCommand() *cobra.Command {
	var file, output string
	var explain bool
	var opt control.ReplayOptions
	cmd := &cobra.Command{
		Use:   "replay -c FILE IN.pcap [-o OUT.pcap]",
		Short: "Replay a capture through the director",
		Long: `Replay the frames of a capture (pcap or pcapng) through the director that FILE describes,
on the capture's own clock, and write what it sends to one capture. The same input gives
the same bytes, for any number of workers. No interface is touched and no root is needed.

With --explain there is a line for each frame: time, port, verdict and reason, the packet,
the virtual service, who chose the server, the connection's state, and the packet sent.

Ports need their mac and addresses in FILE, as no interface is asked for them; a
pcapng capture whose interfaces have the ports' names needs no mac.`,
		Example: "  dirigo replay -c dirigo.toml in.pcap -o out.pcap\n  dirigo replay -c dirigo.toml in.pcapng --explain",
		Args:    cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVarP(&file, "config", "c", "/etc/dirigo.toml", "configuration file")
	f.StringVarP(&output, "output", "o", "", "capture to write; pcapng if its name ends so")
	f.BoolVar(&explain, "explain", false, "print a line for each frame")
	f.IntVar(&opt.Workers, "workers", 1, "workers to spread the flows over")
	f.Uint64Var(&opt.Seed, "seed", 0, "seed of what is drawn at random (scheduler twos)")
	cmd.RunE = func(c *cobra.Command, args []string) (err error) {
		cfg, err := conf.Load(file)
		if err != nil {
			return err
		}
		if len(cfg.Ports) == 0 {
			return fmt.Errorf("%s: no [[port]]", file)
		}
		if opt.Workers < 1 || opt.Workers > 1024 {
			return fmt.Errorf("--workers %d: want 1 to 1024", opt.Workers)
		}
		opt.Emit = func(time.Time, int, []byte) error { return nil }
		if output != "" {
			w, closeOutput, oerr := createCapture(output, cfg)
			if oerr != nil {
				return oerr
			}
			defer func() { err = closeOutput(err) }()
			opt.Emit = w.Write
		}
		out := c.OutOrStdout()
		if explain {
			opt.Explain = func(e control.Explained) error { return printExplained(out, &e) }
		}
		sum, err := control.Replay(cfg, func() (*pcap.Reader, io.Closer, error) {
			in, err := os.Open(args[0])
			if err != nil {
				return nil, nil, err
			}
			r, err := pcap.NewReader(in)
			if err != nil {
				in.Close()
				return nil, nil, fmt.Errorf("%s: %w", args[0], err)
			}
			return r, in, nil
		}, opt)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		fmt.Fprintf(out, "%d frames, %d sent, %d not replayed\n", sum.Frames, sum.Sent, sum.Skipped)
		for r, n := range sum.Reasons {
			if n > 0 {
				fmt.Fprintf(out, "  %-18s %d\n", dataplane.Reason(r), n)
			}
		}
		return nil
	}
	return cmd
}

// createCapture begins the output in a file beside it, which takes its name only when
// all is written.
func createCapture(path string, cfg *conf.Config) (*pcap.Writer, func(error) error, error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return nil, nil, err
	}
	var names []string
	var l2 []bool
	for _, p := range cfg.Ports {
		names, l2 = append(names, p.Name), append(l2, p.Driver != conf.TUN)
	}
	w, err := pcap.NewWriter(tmp, strings.HasSuffix(path, ".pcapng"), names, l2)
	if err != nil {
		return nil, nil, errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
	}
	return w, func(err error) error {
		err = errors.Join(err, w.Close(), tmp.Chmod(0o644), tmp.Close())
		if err != nil {
			return errors.Join(err, os.Remove(tmp.Name()))
		}
		return os.Rename(tmp.Name(), path)
	}, nil
}

// printExplained writes one line.
func printExplained(w io.Writer, e *control.Explained) error {
	at := e.Time.UTC().Format("15:04:05.000000")
	if e.Note != "" {
		_, err := fmt.Fprintf(w, "%d %s skipped: %s\n", e.Number, at, e.Note)
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s %s %v %v", e.Number, at, e.Port, e.Verdict, e.Reason)
	in := e.Trace.Flow
	if in.Proto != 0 {
		fmt.Fprintf(&b, " %s", flow(in))
	}
	if s := e.Trace.Service; s != nil {
		fmt.Fprintf(&b, " service=%v", strings.ReplaceAll(s.Key.String(), " ", "-"))
	}
	if e.Trace.Scheduler != "" {
		fmt.Fprintf(&b, " chosen-by=%s", e.Trace.Scheduler)
	}
	if c := e.Trace.Conn; c != nil {
		fmt.Fprintf(&b, " server=%v state=%s expires=%s", c.Dest, c.State, c.Expires.Truncate(time.Millisecond))
	}
	if e.Verdict == dataplane.Send && e.Out != in {
		fmt.Fprintf(&b, " out=%s", flow(e.Out))
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

func flow(f packet.Flow) string {
	proto := map[uint8]string{packet.TCP: "tcp", packet.UDP: "udp", packet.ICMP: "icmp", packet.ICMPv6: "icmpv6", packet.IPIP: "ipip", packet.IPv6: "ipv6", packet.GRE: "gre", packet.SCTP: "sctp"}[f.Proto]
	if proto == "" {
		proto = fmt.Sprintf("ip%d", f.Proto)
	}
	if f.SrcPort == 0 && f.DstPort == 0 {
		return fmt.Sprintf("%s:%v>%v", proto, f.Src, f.Dst)
	}
	return fmt.Sprintf("%s:%v>%v", proto, netip.AddrPortFrom(f.Src.Netip(), f.SrcPort), netip.AddrPortFrom(f.Dst.Netip(), f.DstPort))
}
