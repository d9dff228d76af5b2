"""Networks that read external inputs and each other: who reads what, in which dims.

A network reads streams (external inputs), outputs of earlier networks, or, as a "side" network, all
layers of an earlier one. What it reads is put side by side: channels after channels at each pixel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keras import ops

from NDN3 import descriptions, quantities, stacks
from NDN3.dims import three_dims
from NDN3.layers.base import NDNLayer


@dataclass(frozen=True)
class Sources:
    """What a network reads.

    Parameters
    ----------
    streams : sequence of int
        External inputs.
    networks : sequence of int
        Earlier networks.
    is_side : bool
        It reads all layers of its only network instead of the output.
    parts : sequence of list of int
        [C, W, H] of each of these, in this order.
    legacy : bool
        Parts are put one behind the other without regard to pixels, as the original program did.
    """

    streams: Sequence[int]
    networks: Sequence[int]
    is_side: bool
    parts: Sequence[list]
    legacy: bool

    @property
    def dims(self):
        """[C, W, H] of all parts side by side."""
        return [sum(part[0] for part in self.parts), *self.parts[0][1:]]

    def joined(self, arrays):
        """Parts side by side.

        Parameters
        ----------
        arrays : list of tensor or ndarray, (batch, prod(part))

        Returns
        -------
        tensor or ndarray, (batch, prod(dims))
        """
        if len(arrays) == 1:
            return arrays[0]
        library = np if all(isinstance(array, np.ndarray) for array in arrays) else ops
        _, width, height = self.dims
        if width * height == 1 or self.legacy:
            return library.concatenate(arrays, axis=1)
        images = [
            library.reshape(array, (-1, width * height, part[0]))
            for array, part in zip(arrays, self.parts, strict=True)
        ]
        return library.reshape(library.concatenate(images, axis=2), (-1, math.prod(self.dims)))


@dataclass(frozen=True)
class Network:
    """One network of a model.

    Parameters
    ----------
    description : dict
        Resolved, with the dims of all that it reads.
    sources : Sources
    lags : sequence of int
        For each layer, so many lags of its input are made before it; 1 for the input as it is.
    layers : sequence of NDN3.layers.base.NDNLayer
        Prepared, perhaps not built.
    """

    description: dict
    sources: Sources
    lags: Sequence[int]
    layers: Sequence[NDNLayer]

    @property
    def output_dims(self):
        """[C, W, H] of the last layer."""
        return self.layers[-1].dims_of_output()

    def spreads(self, before):
        """Rows before a row that each layer needs for it.

        Parameters
        ----------
        before : int
            Those that the sources need.

        Returns
        -------
        list of int
        """
        found = []
        for lags, layer in zip(self.lags, self.layers, strict=True):
            before += lags - 1 + layer.time_spread
            found.append(before)
        return found


@dataclass(frozen=True)
class Composition:
    """Networks, and which of them give the output.

    Parameters
    ----------
    networks : sequence of Network
    outputs : sequence of int
    streams : sequence of list of int
        [C, W, H] of each external input.
    """

    networks: Sequence[Network]
    outputs: Sequence[int]
    streams: Sequence[list]

    @property
    def neurons(self):
        """Number of outputs of each output network."""
        return [math.prod(self.networks[number].output_dims) for number in self.outputs]

    @property
    def spreads(self):
        """Rows before a row that each layer of each network needs for it."""
        found = []
        for network in self.networks:
            inner = [found[number][-1] for number in network.sources.networks]
            found.append(network.spreads(max(inner, default=0)))
        return found

    @property
    def time_spread(self):
        """Rows before a row that the output of the model needs for it."""
        return max(self.spreads[number][-1] for number in self.outputs)

    def needed(self, targets):
        """Networks on which some depend, and those themselves, in order."""
        wanted = set(targets)
        for number in reversed(range(len(self.networks))):
            if number in wanted:
                wanted |= set(self.networks[number].sources.networks)
        return sorted(wanted)


def compose(network_list, ffnet_out=-1, input_dim_list=None, legacy=False, dtype=None):
    """Put networks together.

    Parameters
    ----------
    network_list : dict or list of dict
        Descriptions from `NDN3.NDNutils.ffnetwork_params`; a network may read those before it.
    ffnet_out : int or list of int
        Networks that give the output.
    input_dim_list : list, optional
        [C, W, H] of the external inputs, for networks that do not tell by themselves.
    legacy : bool
    dtype : str, optional
        Of weights and computation.

    Returns
    -------
    Composition

    Raises
    ------
    ValueError
        If something does not exist or does not fit; it says in which network and layer.
    """
    listed = descriptions.listed(network_list)
    input_dim_list = dims_of_inputs(input_dim_list)
    outputs = descriptions.checked_outputs(ffnet_out, len(listed))
    streams = {}
    networks = []
    for number, given in enumerate(listed):
        description = descriptions.resolved(given, legacy)
        sources = sources_of(description, number, networks, streams, input_dim_list, legacy)
        side = sources.is_side
        levels = [part[0] for part in sources.parts] if side else None
        prefix = f"net{number}_" if number else ""
        plan = list(
            stacks.prepared(
                description, sources.dims, levels=levels, prefix=prefix, legacy=legacy, dtype=dtype
            )
        )
        description["input_dims"] = sources.dims
        lags, layers = zip(*plan, strict=True)
        networks.append(Network(description, sources, lags, layers))
    # not all numbers below the largest one, which may be huge
    missing = set(range(len(streams))) - set(streams)
    if missing:
        raise ValueError(
            f"no network reads the external inputs {sorted(missing)}; xstim_n of all networks "
            "together must count from 0 without gaps. Correct xstim_n."
        )
    if input_dim_list is not None and len(input_dim_list) > len(streams):
        raise ValueError(
            f"input_dim_list has {len(input_dim_list)} entries; the networks read {len(streams)} "
            "external inputs. Remove the entries that are too many."
        )
    return Composition(networks, outputs, [streams[number] for number in sorted(streams)])


def dims_of_inputs(input_dim_list):
    """Dims of the external inputs that a user gives.

    Parameters
    ----------
    input_dim_list : sequence of (int, sequence of int or None), or None

    Returns
    -------
    list of (list of int or None), or None

    Raises
    ------
    ValueError
        If it is no list of dims.
    """
    if input_dim_list is None:
        return None
    found = input_dim_list.tolist() if isinstance(input_dim_list, np.ndarray) else input_dim_list
    if not isinstance(found, (list, tuple)):
        raise ValueError(
            f"input_dim_list is {quantities.shown(input_dim_list)}; it must be a list of "
            "[channels, width, height] of each external input. Give a list, or leave it out."
        )
    return [
        None if dims is None else three_dims(dims, f"input_dim_list[{stream}]")
        for stream, dims in enumerate(found)
    ]


def sources_of(description, number, networks, streams, input_dim_list, legacy):
    """What a network reads.

    Parameters
    ----------
    description : dict
        Resolved.
    number : int
        Of the network.
    networks : list of Network
        Those before it.
    streams : dict
        Dims of the external inputs that are known; those of this network are added.
    input_dim_list : list or None
        From `dims_of_inputs`.
    legacy : bool

    Returns
    -------
    Sources
    """
    external = description["xstim_n"] or []
    internal = description["ffnet_n"] or []
    is_side = description["network_type"] == "side"
    where = f"network {number}"
    for other in internal:
        if other >= number:
            raise ValueError(
                f"{where} reads network {other}; a network may read those before it, which are "
                f"{list(range(number))}. Correct ffnet_n, or change the order."
            )
    if is_side and (external or len(internal) != 1):
        raise ValueError(
            f"{where} is a side network with xstim_n {external} and ffnet_n {internal}; it reads "
            "all layers of one other network. Give xstim_n=None and one network in ffnet_n."
        )
    if not external and not internal:
        raise ValueError(
            f"{where} reads nothing; give external inputs in xstim_n or networks in ffnet_n."
        )
    given = description.get("input_dims")
    parts = []
    for stream in external:
        dims = streams.get(stream)
        told = "for an earlier network"
        if input_dim_list is not None and stream < len(input_dim_list):
            dims, told = input_dim_list[stream] or dims, "in input_dim_list"
        if given and len(external) + len(internal) == 1:
            if dims is not None and dims != given:
                raise ValueError(
                    f"input_dims of {where} are {given}, and external input {stream} has dims "
                    f"{dims} {told}; both must be equal. Correct one of the two."
                )
            dims = given
        if dims is None:
            raise ValueError(
                f"the dims of external input {stream} of {where} are not known; a network with one "
                "source tells them by input_dims, otherwise give input_dim_list to the model."
            )
        streams[stream] = dims
        parts.append(dims)
    if is_side:
        parts += levels_of(networks[internal[0]])
    else:
        parts += [networks[other].output_dims for other in internal]
    if len({tuple(part[1:]) for part in parts}) > 1:
        raise ValueError(
            f"{where} reads parts of dims {parts}; they are put side by side along the channels, "
            "so width and height must agree. Change the networks before it."
        )
    sources = Sources(external, internal, is_side, parts, legacy)
    if given and math.prod(given) != math.prod(sources.dims):
        raise ValueError(
            f"input_dims of {where} are {given}, and what it reads has dims {sources.dims}. "
            "Correct input_dims, or leave them out."
        )
    return sources


def levels_of(network):
    """Dims of all layers of a network: as images where all have the same pixels, flat otherwise."""
    dims = [layer.dims_of_output() for layer in network.layers]
    if len({tuple(each[1:]) for each in dims}) == 1:
        return dims
    return [[math.prod(each), 1, 1] for each in dims]
