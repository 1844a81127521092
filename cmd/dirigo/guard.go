package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/host"
)

func guardCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "Look after the rules that keep the host off balanced frames",
	}
	var name string
	clear := &cobra.Command{
		Use:   "clear",
		Short: "Remove what a director that was killed left behind",
		Long: `Remove the nftables table and the policy rules of a director that was killed. The next
start of the director does the same by itself. Nothing to remove is no error.`,
		Example: "  dirigo guard clear",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.Join(host.Clear(name), host.ClearLocal(name))
		},
	}
	clear.Flags().StringVar(&name, "name", conf.DefaultName, "the director's name in its configuration file")
	cmd.AddCommand(clear)
	return cmd
}
