package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
)

const replayHelp = `Replay the frames of a capture (pcap or pcapng) through the director that FILE describes,
on the capture's own clock, and write what it sends to one capture. The same input gives
the same bytes, for any number of workers. No interface is touched and no root is needed.

Ports need their mac and addresses in FILE, as no interface is asked for them; a
pcapng capture whose interfaces have the ports' names needs no mac. Nor is the host asked:
addresses of its own that frames come for are [[route]]s with type = "local".

With --explain there is a line for each frame:

  7 10:31:02.500000 eth0 drop no_dest tcp:192.0.2.7:4001>198.51.100.80:80 service=tcp/198.51.100.80:80 rule="all servers of ..."

its number in the capture, time, port, verdict (pass: left to the host; send; taken:
answered or consumed here; drop) and reason, the packet, and as far as there is one

  service=     the virtual service that was asked for a server
  chosen-by=   its scheduler, or "template" for persistence
  ended-by=    the sysctl that ended an older connection of the same ends
  server= state= expires=  of the connection
  out=         the packet as it was sent, if its ends have changed
  rule=        what decided: the service, server or sysctl at stake. For all but sent frames

With --commands a script is carried out between the frames, as an operator would have
typed it: one ipvsadm or sysctl command a line behind its time, which is in decimal
seconds since the first frame; empty lines and those with # before them are passed over.

  # seconds  command
  -1     ipvsadm -A -t 198.51.100.80:80 -s wrr
  -1     ipvsadm -a -t 198.51.100.80:80 -r 192.168.2.100:80 -m
  12.5   ipvsadm -e -t 198.51.100.80:80 -r 192.168.2.100:80 -m -w 0
  13     sysctl -w net.ipv4.vs.expire_nodest_conn=1
  20     ipvsadm -Lnc

Times never go back; they may be negative (before the first frame) and lie behind the last
frame. Of a frame and a command of the same time the command is first. Listings (-L, -Lc,
-S) are printed, each under its command. A command that ipvsadm or sysctl would refuse is
printed with its line and what is wrong, and the replay goes on.

Exit status: 0; 1 if the replay could not be made, or, after all else is done and
written, if a command was refused.`

func replayCommand() *cobra.Command {
	var file, output, script string
	var explain bool
	var opt control.ReplayOptions
	cmd := &cobra.Command{
		Use:   "replay -c FILE IN.pcap [-o OUT.pcap]",
		Short: "Replay a capture through the director",
		Long:  replayHelp,
		Example: `  dirigo replay -c dirigo.toml in.pcap -o out.pcap
  dirigo replay -c dirigo.toml in.pcapng --explain
  dirigo replay -c dirigo.toml in.pcapng --commands script.txt --explain`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVarP(&file, "config", "c", "/etc/dirigo.toml", "configuration file")
	f.StringVarP(&output, "output", "o", "", "capture to write; pcapng if its name ends so")
	f.BoolVar(&explain, "explain", false, "print a line for each frame and each command")
	f.StringVar(&script, "commands", "", "file of timed ipvsadm and sysctl commands to carry out between the frames")
	f.IntVar(&opt.Workers, "workers", 1, "workers to spread the flows over")
	f.Uint64Var(&opt.Seed, "seed", 0, "seed of what is drawn at random (scheduler twos)")
	cmd.RunE = func(c *cobra.Command, args []string) error {
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
		out := bufio.NewWriter(c.OutOrStdout())
		if explain {
			opt.Explain = func(e control.Explained) error { return printExplained(out, &e) }
		}
		if script != "" {
			if opt.Commands, err = readScript(script); err != nil {
				return err
			}
			opt.Commanded = func(d control.Commanded) error { return printCommanded(out, script, &d, explain) }
		}
		sum, err := replay(cfg, args[0], output, opt)
		if err != nil {
			return errors.Join(err, out.Flush())
		}
		printSummary(out, &sum)
		if err := out.Flush(); err != nil {
			return err
		}
		if sum.Failed > 0 {
			return fmt.Errorf("%s: %d of %d commands were refused", script, sum.Failed, sum.Commands)
		}
		return nil
	}
	return cmd
}

// replay runs the capture in through cfg's director and writes what it sends to the
// capture output, if that is not "".
func replay(cfg *conf.Config, in, output string, opt control.ReplayOptions) (sum control.ReplaySummary, err error) {
	opt.Emit = func(time.Time, int, []byte) error { return nil }
	if output != "" {
		w, closeOutput, oerr := createCapture(output, cfg)
		if oerr != nil {
			return sum, oerr
		}
		defer func() { err = closeOutput(err) }()
		opt.Emit = w.Write
	}
	sum, err = control.Replay(cfg, func() (*pcap.Reader, io.Closer, error) {
		file, err := os.Open(in)
		if err != nil {
			return nil, nil, err
		}
		r, err := pcap.NewReader(file)
		if err != nil {
			file.Close()
			return nil, nil, err
		}
		return r, file, nil
	}, opt)
	if err != nil {
		return sum, fmt.Errorf("%s: %w", in, err)
	}
	return sum, nil
}

func readScript(path string) ([]control.Command, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return control.ParseCommands(path, file)
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
