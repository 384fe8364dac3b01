defmodule Ferrets.Status do
  @moduledoc """
  How a cluster is: what is joined, what is missing, and where nodes disagree; and numbers for exporters of metrics. The Erlang
  module is `:ferrets_status`; what to do about each field stands in `docs/operating.md`.
  """

  @doc """
  Asks each connected node once. The argument is the name of discovery, which is the same on every node.

      iex> {:ok, _} = Ferrets.start_link(name: :doc_status_table)
      iex> {:ok, _} = Ferrets.Discovery.start_link(name: :doc_status, tables: [:doc_status_table], backend: :nodes)
      iex> Ferrets.Discovery.wait_for_ready(:doc_status, 5_000)
      iex> status = Ferrets.Status.status(:doc_status)
      iex> {status.joined_nodes == [node()], status.discovery_works, status.conflict_tables}
      {true, true, []}
  """
  @spec status(disco :: atom) :: :ferrets_status.status()
  defdelegate status(disco), to: :ferrets_status

  @doc """
  The numbers of a table or of discovery on this node, by name; `{name, node}` for those that there are per peer.

      iex> {:ok, _} = Ferrets.start_link(name: :doc_metrics)
      iex> Ferrets.insert(:doc_metrics, {:a, 1})
      iex> %{size: 1, peers: 0} = Ferrets.Status.metrics(:doc_metrics)
  """
  @spec metrics(disco_or_table :: atom) :: :ferrets_metrics.metrics()
  defdelegate metrics(disco_or_table), to: :ferrets_status

  @doc """
  The same as text for Prometheus; of discovery with all its tables.

      iex> {:ok, _} = Ferrets.start_link(name: :doc_prometheus)
      iex> text = IO.iodata_to_binary(Ferrets.Status.prometheus(:doc_prometheus))
      iex> text =~ ~s(ferrets_size{table="doc_prometheus"} 0)
      true
  """
  @spec prometheus(disco_or_table :: atom) :: iodata
  defdelegate prometheus(disco_or_table), to: :ferrets_status
end
