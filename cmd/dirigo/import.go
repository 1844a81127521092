package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control"
)

func importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import ipvsadm [FILE]",
		Short: "Turn rules of ipvsadm into a configuration file",
		Long: `Read rules as "ipvsadm -Sn" and "ipvsadm-save -n" print them, from FILE or standard input,
and print the [[service]] tables of a configuration file that mean the same. Services and
servers keep their order, which decides between equals. Any command that changes services,
servers or timeouts may stand there; empty lines and those that begin with # are passed
over. Addresses and ports are numbers: without -n ipvsadm prints names, which are refused.

ipvsadm saves no thresholds: they are lost before they come here, unless the rules were
written by hand. Ports and whatever else the file needs are yours to add.

Exit status 1 if a line cannot be imported; each is named, and nothing is printed then.`,
		Example:   "  ipvsadm -Sn | dirigo import ipvsadm >> dirigo.toml\n  dirigo check -c dirigo.toml",
		Args:      cobra.RangeArgs(1, 2),
		ValidArgs: []string{"ipvsadm"},
	}
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if args[0] != "ipvsadm" {
			return fmt.Errorf("import %q: only rules of ipvsadm can be imported", args[0])
		}
		name, in := "stdin", c.InOrStdin()
		if len(args) == 2 {
			file, err := os.Open(args[1])
			if err != nil {
				return err
			}
			defer file.Close()
			name, in = args[1], io.Reader(file)
		}
		cfg, err := control.ImportRules(name, in)
		if err != nil {
			return err
		}
		_, err = c.OutOrStdout().Write(cfg.TOML())
		return err
	}
	return cmd
}
