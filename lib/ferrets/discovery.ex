defmodule Ferrets.Discovery do
  @moduledoc """
  Finds the other nodes and joins the tables with theirs, for as long as it runs.

  A backend says which nodes there are to be; discovery connects to them and joins each table with each of them, when it
  starts and after whatever took them apart. The Erlang module is `:ferrets_discovery`, whose header has the guarantees.

  It stands behind its tables in a supervision tree, under the same name on every node:

      children = [
        {Ferrets, name: :sessions},
        {Ferrets.Discovery, name: :disco, tables: [:sessions], backend: {:file, "/etc/my_app/nodes"}}
      ]

  ## Backends

  `:backend` is one of these, or `{module, options}` with a module that has the behaviour `:ferrets_discovery`:

    * `{:file, path}` - a file with one node per line
    * `{:dns, query: "my-app-headless.default.svc.cluster.local", basename: "my_app"}` - the addresses of a name, as of a
      headless service of Kubernetes; nodes are called `basename@address`
    * `:nodes` - whatever is connected already, as by libcluster
    * `{:fun, fun}` - a function that gets the state, a map of all options at first, and returns `{{:ok, nodes}, state}` or
      `{{:error, reason}, state}`

  ## Example

      iex> {:ok, _} = Ferrets.start_link(name: :doc_disco_table)
      iex> {:ok, _} = Ferrets.Discovery.start_link(name: :doc_disco, tables: [:doc_disco_table], backend: :nodes)
      iex> Ferrets.Discovery.wait_for_ready(:doc_disco, 5_000)
      :ok
      iex> Ferrets.Discovery.system_info(:doc_disco).nodes == [node()]
      true
  """

  @typedoc "Discovery by its name, or anywhere."
  @type server :: :ferrets_discovery.server()

  @type backend ::
          {:file, Path.t()}
          | {:dns, keyword | map}
          | :nodes
          | {:fun, :ferrets_discovery_fun.get_nodes_fn()}
          | {module, keyword | map}

  @typedoc """
  Options.

    * `:name` - the name to be registered under
    * `:tables` - the tables to be joined; more may be added
    * `:backend` - see above; those of the Erlang module, `:backend_module` and what it needs, do as well
    * `:retry_intervals` - a map of milliseconds between two questions to the backend: `:initial` (5 000), `:after_error`
      (1 000), `:after_nodedown` (30 000), `:regular` (300 000)
    * `:initial_phase` - for how many milliseconds after the start `:initial` counts; 300 000 by default
    * `:get_nodes_timeout` - how many milliseconds the backend may take; 30 000 by default
    * `:ping_timeout` - how many milliseconds a host may take to say whether a node runs there; 5 000 by default
  """
  @type options :: keyword | map

  @doc """
  The child specification for a supervisor. The options are those of `start_link/1`.

      iex> Ferrets.Discovery.child_spec(name: :disco, backend: :nodes).id
      {Ferrets.Discovery, :disco}
  """
  @spec child_spec(options) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: {__MODULE__, Map.get(Map.new(options), :name, __MODULE__)},
      start: {__MODULE__, :start_link, [options]}
    }
  end

  @doc """
  Starts discovery under a supervisor. All that is wrong with the options is in the error.

      iex> Ferrets.Discovery.start_link(tables: :sessions, backend: {:file, 7})
      {:error,
       [
         bad_option: %{option: :tables, value: :sessions},
         bad_option: %{option: :disco_file, value: 7}
       ]}
  """
  @spec start_link(options) :: {:ok, pid} | {:error, :ferrets_discovery.start_error()}
  def start_link(options), do: :ferrets_discovery.start_link(to_erlang(options))

  @doc "Starts discovery that is linked to nobody."
  @spec start(options) :: {:ok, pid} | {:error, :ferrets_discovery.start_error()}
  def start(options), do: :ferrets_discovery.start(to_erlang(options))

  defp to_erlang(options) do
    case Map.pop(Map.new(options), :backend) do
      {nil, options} -> options
      {backend, options} -> Map.merge(options, backend(backend))
    end
  end

  defp backend({:file, path}), do: %{backend_module: :ferrets_discovery_file, disco_file: path}
  defp backend({:dns, options}), do: with_module(:ferrets_discovery_dns, options)
  defp backend(:nodes), do: %{backend_module: :ferrets_discovery_nodes}
  defp backend({:fun, fun}), do: %{backend_module: :ferrets_discovery_fun, get_nodes_fn: fun}
  defp backend({module, options}), do: with_module(module, options)

  defp with_module(module, options), do: Map.put(Map.new(options), :backend_module, module)

  @doc "Has a table joined from now on. It may be started later."
  @spec add_table(server, Ferrets.table()) :: :ok
  defdelegate add_table(server, table), to: :ferrets_discovery

  @doc "Has a table joined no more. Its links stay."
  @spec delete_table(server, Ferrets.table()) :: :ok
  defdelegate delete_table(server, table), to: :ferrets_discovery

  @doc "The tables that are joined."
  @spec get_tables(server) :: {:ok, [Ferrets.table()]}
  defdelegate get_tables(server), to: :ferrets_discovery

  @doc "`Ferrets.info/1` of each table that runs."
  @spec info(server) :: [%{atom => term}]
  defdelegate info(server), to: :ferrets_discovery

  @doc "What discovery knows: nodes, what the backend said, what came of each join, what readiness waits for."
  @spec system_info(server) :: :ferrets_discovery.system_info()
  defdelegate system_info(server), to: :ferrets_discovery

  @doc """
  Waits until the nodes are found and the tables hold what the others have. Exits when the time is over.
  """
  @spec wait_for_ready(server, timeout) :: :ok
  defdelegate wait_for_ready(server, timeout), to: :ferrets_discovery

  @doc "Waits until the backend is not being asked."
  @spec wait_for_get_nodes(server, timeout) :: :ok
  defdelegate wait_for_get_nodes(server, timeout), to: :ferrets_discovery
end
