package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/conf"
)

func checkCommand() *cobra.Command {
	var file string
	var reference bool
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Check a configuration file",
		Long: `Check a configuration file and report every mistake with its line, key and what is
allowed there. Warnings are for what is allowed but probably not meant. Exit status 1 if
there is a mistake. --reference prints a file with every key explained.`,
		Example: "  dirigo check -c /etc/dirigo.toml\n  dirigo check --reference > example.toml",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&file, "config", "c", "/etc/dirigo.toml", "configuration file")
	cmd.Flags().BoolVar(&reference, "reference", false, "print a file with every key explained, and check nothing")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		out := c.OutOrStdout()
		if reference {
			_, err := fmt.Fprint(out, conf.Reference())
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		cfg, warnings, err := conf.Check(file, data)
		if err != nil {
			return err
		}
		for _, w := range append(warnings, conf.MissingFiles(file, data, cfg)...) {
			fmt.Fprintf(out, "warning: %v\n", w)
		}
		servers := 0
		for _, s := range cfg.Services {
			servers += len(s.Servers)
		}
		fmt.Fprintf(out, "%s: good: %d ports, %d services, %d real servers, %d mark rules\n",
			file, len(cfg.Ports), len(cfg.Services), servers, len(cfg.Marks))
		return nil
	}
	return cmd
}
