package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func captureCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "capture -w FILE",
		Short: "Write live packets, before and after, to a pcapng file",
		Long: `Write the packets that a running director receives to a pcapng file, each as it came (its
interface is the port by which it came) and after it whatever left for it (the interface
is the port by which it left). Every frame's comment is the verdict with its reason and
the rule or setting that decided so; Wireshark shows it above the frame.

` + watchHelp + `

--count counts received frames. FILE is written as frames come, and can be read
meanwhile; one that is there already is refused without --force. FILE "-" is standard
output.`,
		Example: `  dirigo capture -w drops.pcapng --verdict drop --duration 1m
  dirigo capture -w - --reason no_dest --service web | tcpdump -nr -`,
		Args: cobra.NoArgs,
	}
	socket, flags := controlFlag(cmd), newWatchFlags(cmd)
	file := cmd.Flags().StringP("write", "w", "", "`FILE` to write, - for standard output")
	force := cmd.Flags().Bool("force", false, "overwrite FILE")
	snaplen := cmd.Flags().Int("snaplen", 0, "at most so many bytes of each frame")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		if *file == "" {
			return errors.New("capture to which file? -w FILE, - for standard output")
		}
		q := flags.query()
		if *snaplen != 0 {
			q.Set("snaplen", fmt.Sprint(*snaplen))
		}
		// The file is made when the director has taken the request, so that a mistake in it
		// leaves no empty one behind.
		s, closed, err := openStream(*socket, "/v1/capture", q)
		if err != nil {
			return err
		}
		defer closed()
		out := io.Writer(c.OutOrStdout())
		if *file != "-" {
			f, err := createGrowing(*file, *force)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			out = f
		}
		fmt.Fprintln(c.ErrOrStderr(), "dirigo: capturing")
		n, err := io.Copy(out, s)
		if err != nil {
			return brokenOff(err)
		}
		fmt.Fprintf(c.ErrOrStderr(), "dirigo: %d bytes written\n", n)
		tellDropped(c.ErrOrStderr(), "packets", s.Dropped())
		if f, ok := out.(*os.File); ok && *file != "-" {
			return f.Close()
		}
		return nil
	}
	return cmd
}

// createGrowing makes a file that is written as things come, so it has its name from the
// beginning; what is there is not overwritten without force.
func createGrowing(path string, force bool) (*os.File, error) {
	how := os.O_EXCL
	if force {
		how = os.O_TRUNC
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|how, 0o600) // packets are nobody else's
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already: --force overwrites it", path)
	}
	return f, err
}
