defmodule Ferrets.DiscoveryTest do
  use ExUnit.Case, async: true

  doctest Ferrets.Discovery
  doctest Ferrets.Status

  defmodule TenLines do
    use Application

    def start(_type, _args) do
      children = [
        {Ferrets, name: :ten_lines, type: :set},
        {Ferrets.Discovery, name: :ten_lines_disco, tables: [:ten_lines], backend: :nodes}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)
    end
  end

  defmodule Constant do
    @behaviour :ferrets_discovery
    def init(options), do: options
    def get_nodes(state), do: {{:ok, [node()]}, state}
  end

  test "an application starts table and discovery in ten lines" do
    :ok = :application.load({:application, :ten_lines, mod: {TenLines, []}, applications: []})
    :ok = Application.start(:ten_lines)
    assert Ferrets.Discovery.wait_for_ready(:ten_lines_disco, 5_000) == :ok
    assert Ferrets.Discovery.get_tables(:ten_lines_disco) == {:ok, [:ten_lines]}
    assert [%{table: :ten_lines, type: :set}] = Ferrets.Discovery.info(:ten_lines_disco)
    :ok = Ferrets.insert(:ten_lines, {1})

    # The supervisor starts it again, and the table stays.
    disco = Process.whereis(:ten_lines_disco)
    monitor = Process.monitor(disco)
    Process.exit(disco, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^disco, :killed}
    wait_until(fn -> Process.whereis(:ten_lines_disco) not in [nil, disco] end)
    assert Ferrets.Discovery.wait_for_ready(:ten_lines_disco, 5_000) == :ok
    assert Ferrets.lookup(:ten_lines, 1) == [{1}]
    :ok = Application.stop(:ten_lines)
  end

  test "each backend has its option" do
    path = Path.join(System.tmp_dir!(), "ferrets_nodes_#{System.pid()}")
    File.write!(path, "#{node()}\r\n")
    on_exit(fn -> File.rm!(path) end)

    for backend <- [
          {:file, path},
          :nodes,
          {:fun, fn state -> {{:ok, [node()]}, state} end},
          {Constant, colour: :red}
        ] do
      {:ok, disco} = Ferrets.Discovery.start(%{backend: backend})
      assert Ferrets.Discovery.wait_for_ready(disco, 5_000) == :ok
      assert Ferrets.Discovery.wait_for_get_nodes(disco, 5_000) == :ok
      assert Ferrets.Discovery.system_info(disco).nodes == [node()]
      GenServer.stop(disco)
    end

    {:ok, disco} =
      Ferrets.Discovery.start(
        backend: {:dns, query: "x", basename: :app, resolver_options: [nameservers: []]}
      )

    assert Ferrets.Discovery.system_info(disco).backend_state.basename == 'app'
    assert Ferrets.Discovery.add_table(disco, :later) == :ok
    assert Ferrets.Discovery.delete_table(disco, :later) == :ok
    GenServer.stop(disco)
  end

  test "everything of the Erlang API has its delegate" do
    for {erlang, elixir, own} <- [
          {:ferrets_discovery, Ferrets.Discovery, [behaviour_info: 1]},
          {:ferrets_status, Ferrets.Status, [report: 1]}
        ] do
      exports = erlang.module_info(:exports) -- [{:module_info, 0}, {:module_info, 1} | own]
      assert exports -- elixir.__info__(:functions) == []
    end
  end

  defp wait_until(holds), do: holds.() || wait_until(holds)
end
