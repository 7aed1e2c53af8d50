"""Output translation (OTL) from end to end, with PyTorch, timm and rs_otl.balanced_labels.

A network learns from images without labels. Each epoch, the arg-max of its outputs clusters the
images; one vector subtracted from all outputs makes the clusters equally large; the network then
learns to predict the cluster of every view of an image from every other view.
Li et al., Remote Sensing 2022, doi:10.3390/rs14143361.
"""

import math

import timm
import torch
import torch.nn.functional as F

from rs_otl import balanced_labels

CLASSES, IMAGES, SIZE = 8, 512, 32  # what the images show, how many, pixels
VIEWS, CLUSTERS, EPOCHS, BATCH = 2, 32, 8, 64


def draw_images(count):
    """Return images of stripes in one of 8 directions, coloured and noisy, and the directions."""
    direction = torch.arange(count) % CLASSES
    angle = (direction * math.pi / CLASSES).view(-1, 1, 1)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    phase = 2 * math.pi * torch.rand(count, 1, 1)
    stripes = torch.sin(x * angle.cos() + y * angle.sin() + phase)[:, None]
    background, contrast = 0.5 * torch.randn(2, count, 3, 1, 1)
    noise = 0.3 * torch.randn(count, 3, SIZE, SIZE)
    return background + stripes * (1 + contrast) + noise, direction


def augment(images):
    """Shift each image and change its brightness and tint, at random."""
    shifted = [image.roll(torch.randint(SIZE, (2,)).tolist(), (1, 2)) for image in images]
    gain, offset = 0.2 * torch.randn(2, len(images), 3, 1, 1)
    return torch.stack(shifted) * (1 + gain) + offset


@torch.no_grad()
def knn_accuracy(encoder, images, classes):
    """Return how often 10 nearest neighbours in the first half name the class in the second."""
    features = F.normalize(encoder.eval()(images))
    half = len(images) // 2
    nearest = (features[half:] @ features[:half].T).topk(10).indices
    votes = F.one_hot(classes[:half][nearest], CLASSES).sum(1)
    return (votes.argmax(1) == classes[half:]).float().mean().item()


def main():
    """Train on all images without their classes; print loss, evenness and accuracy."""
    torch.manual_seed(0)
    images, classes = draw_images(IMAGES)
    encoder = timm.create_model("test_resnet", num_classes=0)  # a tiny ResNet
    head = torch.nn.Linear(encoder.num_features, CLUSTERS)
    network = torch.nn.Sequential(encoder, head)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS * IMAGES // BATCH)
    print(f"before: kNN {knn_accuracy(encoder, images, classes):.1%}")
    for epoch in range(EPOCHS):
        network.train()
        with torch.no_grad():  # a clustering of all images for each view
            batches = [augment(images).split(BATCH) for _ in range(VIEWS)]
            outputs = [torch.cat([network(batch) for batch in view]) for view in batches]
            clusterings = [balanced_labels(view) for view in outputs]
        for batch in torch.randperm(IMAGES).split(BATCH):
            views = network(torch.cat([augment(images[batch]) for _ in range(VIEWS)]))
            # Every view's outputs against every view's labels (equation 18).
            loss = sum(
                F.cross_entropy(view, clustering.labels[batch])
                for view in views.chunk(VIEWS)
                for clustering in clusterings
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(
            f"epoch {epoch + 1}: loss {loss / VIEWS**2:.3f} (chance {math.log(CLUSTERS):.3f}), "
            f"cluster size std {clusterings[0].initial_std:.1f} → {clusterings[0].std:.1f}"
        )
    print(f"after: kNN {knn_accuracy(encoder, images, classes):.1%}")


if __name__ == "__main__":
    main()
